"""How far the limits of the login are used up."""

from django.db import models


class LoginLimit(models.Model):
    """How far one limit of the login is used up (`calls.access.logins`); rows of the past say nothing and go."""

    key = models.CharField(max_length=64, unique=True)
    due = models.DateTimeField(help_text="When all guesses have come back.")

    class Meta:
        # The deletion of what is past.
        indexes = [models.Index(name="login_limit_due", fields=["due"])]

    def __str__(self) -> str:
        return f"{self.key[:8]} until {self.due:%Y-%m-%d %H:%M:%S}"
