"""The echo on a WebSocket library written in C and on nothing else: the limit. Usage: picows_echo.py PORT"""

import base64
import sys

import orjson
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server


class Echo(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        self.heard = bytearray()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close()
            transport.disconnect()
            return
        if frame.msg_type != WSMsgType.TEXT:
            return
        message = orjson.loads(frame.get_payload_as_memoryview())
        if message["event"] != "media":
            return
        audio = base64.b64decode(message["media"]["payload"])
        self.heard += audio
        media = {"payload": base64.b64encode(audio).decode()}
        answer = {"event": "media", "streamSid": message["streamSid"], "media": media}
        transport.send(WSMsgType.TEXT, orjson.dumps(answer))


async def main() -> None:
    server = await ws_create_server(lambda request: Echo(), "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


uvloop.run(main())
