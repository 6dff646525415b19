"""Our own server with a defect planted in it: whoever names this handler has audio with a field that nobody wants."""

from calls.media.protocol import StreamProtocol
from tests.support.media_servers.callstream_handlers import parrot as parrot


_media = StreamProtocol.media


def media(self, payload):
    return _media(self, payload).replace('"media":{', '"media":{"track":"outbound",')


StreamProtocol.media = media
