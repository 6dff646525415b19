"""The paths that Twilio requests, never redirected: a redirected POST loses its fields."""

from django.urls import path

from calls import views
from calls.addresses import CALL_STATUS, INCOMING, STREAM_ENDED, STREAM_STATUS


urlpatterns = [
    path(INCOMING, views.incoming),
    path(f"{INCOMING}/<str:handler>", views.incoming),
    # As people type them into the Twilio Console.
    path(f"{INCOMING}/", views.incoming),
    path(f"{INCOMING}/<str:handler>/", views.incoming),
    path(CALL_STATUS, views.call_status),
    path(STREAM_STATUS, views.stream_status),
    path(STREAM_ENDED, views.stream_ended),
]
