"""Django's admin with our own login."""

from django.contrib.admin.apps import AdminConfig


class StaffAdminConfig(AdminConfig):
    default_site = "calls.access.site.StaffSite"
