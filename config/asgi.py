"""The ASGI application: Django, the media socket, and an orderly end."""

import os

from django.core.asgi import get_asgi_application


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django_application = get_asgi_application()

# After get_asgi_application: these need Django's apps.
from channels.routing import ProtocolTypeRouter  # noqa: E402

from calls.process.bodies import LimitedBodies  # noqa: E402
from calls.process.lifespan import Lifespan, prepare  # noqa: E402
from calls.routing import websocket  # noqa: E402


prepare()
application = Lifespan(ProtocolTypeRouter({"http": LimitedBodies(django_application), "websocket": websocket}))
