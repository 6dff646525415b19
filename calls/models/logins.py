"""How far the limits of the login are used up."""

from django.db import models


class LoginLimit(models.Model):
    """How far one limit of the login is used up (`calls.access.logins`); rows whose time has passed go."""

    key = models.CharField(max_length=64, unique=True)
    due = models.DateTimeField(help_text="When all guesses are available again.")

    class Meta:
        # Deletes the rows whose time has passed.
        indexes = [models.Index(name="login_limit_due", fields=["due"])]

    def __str__(self) -> str:
        return f"{self.key[:8]} until {self.due:%Y-%m-%d %H:%M:%S}"
