"""Flask with flask-sock. `python flask_server.py PORT TOKEN [--wav]`."""

import json
import sys

from flask import Flask, Response, abort, request
from flask_sock import Sock
from parrot import Parrot
from twilio.request_validator import RequestValidator


port, token, *wrong = sys.argv[1:]
app = Flask(__name__)
sock = Sock(app)
validator = RequestValidator(token)
answered = set()
TWIML = (
    '<Response><Connect><Stream url="ws://{host}/media" statusCallback="http://{host}/stream"/></Connect></Response>'
)
WAV_HEADER = bytes.fromhex(
    "52494646 ffffffff 57415645 666d7420 12000000 0700 0100 401f0000 401f0000 0100 0800 0000 64617461 ffffffff"
)


def check(url, form):
    if not validator.validate(url, form, request.headers.get("X-Twilio-Signature", "")):
        abort(403)


@app.post("/voice")
def voice():
    check(request.url, request.form)
    answered.add(request.form["CallSid"])
    return Response(TWIML.format(host=request.host), mimetype="text/xml")


@app.post("/stream")
@app.post("/status")
def callback():
    check(request.url, request.form)
    return "", 204


@app.before_request
def media_is_signed():
    if request.path == "/media":
        check(request.url.replace("http", "ws", 1), {})


@sock.route("/media")
def media(line):
    parrot = ParrotWithHeader() if "--wav" in wrong else Parrot()
    while True:
        text = line.receive()
        message = json.loads(text)
        if message["event"] == "stop" or (message["event"] == "start" and message["start"]["callSid"] not in answered):
            return
        for answer in parrot.hears(text):
            line.send(answer)


class ParrotWithHeader(Parrot):
    def says(self, audio):
        return super().says(WAV_HEADER + audio[len(WAV_HEADER) :])


app.run(port=int(port))
