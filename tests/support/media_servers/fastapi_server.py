"""FastAPI under uvicorn. `python fastapi_server.py PORT TOKEN [--unsigned-socket]`."""

import json
import sys
from urllib.parse import parse_qsl

import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response, WebSocket, WebSocketDisconnect
from parrot import Parrot
from twilio.request_validator import RequestValidator


port, token, *wrong = sys.argv[1:]
app = FastAPI()
validator = RequestValidator(token)
answered = set()
TWIML = (
    '<Response><Connect><Stream url="ws://{host}/media" statusCallback="http://{host}/stream"/></Connect></Response>'
)


def is_signed(request, form):
    return validator.validate(str(request.url), form, request.headers.get("X-Twilio-Signature", ""))


async def signed(request):
    form = dict(parse_qsl((await request.body()).decode(), keep_blank_values=True))
    if not is_signed(request, form):
        raise HTTPException(403)
    return form or request.query_params


@app.api_route("/voice", methods=["GET", "POST"])
async def voice(request: Request) -> Response:
    form = await signed(request)
    answered.add(form["CallSid"])
    return Response(TWIML.format(host=request.headers["Host"]), media_type="text/xml")


@app.post("/stream")
@app.post("/status")
async def callback(request: Request) -> Response:
    await signed(request)
    return Response(status_code=204)


@app.websocket("/media")
async def media(line: WebSocket) -> None:
    if "--unsigned-socket" not in wrong and not is_signed(line, {}):
        return await line.close(1008)
    await line.accept()
    parrot = Parrot()
    try:
        while True:
            text = await line.receive_text()
            message = json.loads(text)
            if message["event"] == "stop":
                return await line.close()
            unknown = message["event"] == "start" and message["start"]["callSid"] not in answered
            if unknown and "--unsigned-socket" not in wrong:
                return await line.close(1008)
            for answer in parrot.hears(text):
                await line.send_text(answer)
    except WebSocketDisconnect:
        return


uvicorn.run(app, port=int(port), log_level="warning")
