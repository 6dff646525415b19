"""The admin, the API, and the paths that Twilio requests."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from calls.addresses import ADMIN, API


class ToTheAdmin(RedirectView):
    """For whoever types the host alone, or forgets the slash."""

    pattern_name = "admin:index"
    http_method_names = ["get", "head"]


urlpatterns = [
    path(ADMIN, admin.site.urls),
    path(ADMIN.rstrip("/"), ToTheAdmin.as_view()),
    path(API, include("calls.api.v1")),
    path("", ToTheAdmin.as_view()),
    path("", include("calls.urls")),
]
