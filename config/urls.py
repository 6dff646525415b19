"""The admin, and the paths that Twilio requests."""

from django.contrib import admin
from django.urls import include, path


urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("calls.urls")),
]
