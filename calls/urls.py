"""The paths that Twilio requests, never redirected: a redirected POST loses its fields."""

from django.urls import path

from calls import views


urlpatterns = [
    path("incoming", views.incoming),
    path("incoming/<str:handler>", views.incoming),
    # As people type them into the Twilio Console.
    path("incoming/", views.incoming),
    path("incoming/<str:handler>/", views.incoming),
    path("call-status", views.call_status),
    path("stream-status", views.stream_status),
    path("stream-ended", views.stream_ended),
]
