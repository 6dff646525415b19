"""The echo as FastAPI's tutorial has it. For `uvicorn fastapi_echo:app`."""

import base64

import orjson
from fastapi import FastAPI, WebSocket, WebSocketDisconnect


app = FastAPI()


@app.websocket("/connection")
async def connection(socket: WebSocket) -> None:
    await socket.accept()
    heard = bytearray()
    try:
        while True:
            message = orjson.loads(await socket.receive_text())
            if message["event"] != "media":
                continue
            audio = base64.b64decode(message["media"]["payload"])
            heard += audio
            media = {"payload": base64.b64encode(audio).decode()}
            answer = {"event": "media", "streamSid": message["streamSid"], "media": media}
            await socket.send_text(orjson.dumps(answer).decode())
    except WebSocketDisconnect:
        return
