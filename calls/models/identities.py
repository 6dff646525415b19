"""Whose account is whose at the provider of single sign-on."""

from django.conf import settings
from django.db import models


class Identity(models.Model):
    """Who somebody is at a provider. Names and addresses change there and are given to others; its `sub` is not.

    https://openid.net/specs/openid-connect-core-1_0.html#ClaimStability
    """

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, related_name="identity")
    issuer = models.CharField(max_length=255)
    subject = models.CharField(max_length=255)

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(name="identity_once", fields=["issuer", "subject"])]
        verbose_name_plural = "identities"

    def __str__(self) -> str:
        return f"{self.subject} at {self.issuer}"
