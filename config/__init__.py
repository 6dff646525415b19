"""The Django project: settings, URLs, the ASGI application, and the image's health check."""
