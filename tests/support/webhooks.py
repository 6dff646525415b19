"""What Twilio requests over HTTP, signed by its own library, with the fields of its own requests."""

import hashlib
from urllib.parse import urlencode
from xml.etree import ElementTree

from django.conf import settings
from twilio.request_validator import RequestValidator


CALL = "CA7b1e09d4c2a85f6390d1e4b7a2c8f056"
STREAM = "MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687"
SIGNATURE = "X-Twilio-Signature"

# https://www.twilio.com/docs/voice/twiml: an inbound call, as captured; empty where nothing is known.
INCOMING = {
    "AccountSid": "AC3f0c6a1d2b4e58790f1e2d3c4b5a6978",
    "ApiVersion": "2010-04-01",
    "CallSid": CALL,
    "CallStatus": "ringing",
    "Direction": "inbound",
    "From": "+14155550100",
    "Caller": "+14155550100",
    "FromCity": "SAN FRANCISCO",
    "To": "+14155550199",
    "Called": "+14155550199",
    "ToCity": "",
    "CallToken": "a long opaque token",
    "StirVerstat": "TN-Validation-Passed-A",
}
# https://www.twilio.com/docs/voice/api/call-resource: the last of four callbacks of a call that we placed.
COMPLETED = {
    "AccountSid": "AC3f0c6a1d2b4e58790f1e2d3c4b5a6978",
    "ApiVersion": "2010-04-01",
    "CallSid": CALL,
    "CallStatus": "completed",
    "Direction": "outbound-api",
    "From": "+14155550199",
    "To": "+14155550100",
    "CallDuration": "49",
    "Duration": "1",
    "SequenceNumber": "3",
    "CallbackSource": "call-progress-events",
    "Timestamp": "Sun, 25 Mar 2018 09:53:19 +0000",
}
# https://www.twilio.com/docs/voice/twiml/stream: no order but the Timestamp, which has nanoseconds.
STARTED = {
    "AccountSid": "AC3f0c6a1d2b4e58790f1e2d3c4b5a6978",
    "CallSid": CALL,
    "StreamSid": STREAM,
    "StreamName": "voicemail",
    "StreamEvent": "stream-started",
    "Timestamp": "2024-11-29T00:09:39.602648368Z",
}


def signature(url, form=None, token="0123456789abcdef0123456789abcdef"):
    return RequestValidator(token).compute_signature(url, form or {})


def post(client, path, form, **headers):
    """A form as Twilio posts it; `headers` add to the signature, or replace it."""
    signed = {SIGNATURE: signature(settings.PUBLIC_URL + path, form), **headers}
    return client.post(path, urlencode(form), content_type="application/x-www-form-urlencoded", headers=signed)


def get(client, path, query):
    """The same over GET: all is in the URL."""
    url = f"{path}?{urlencode(query)}"
    return client.get(url, headers={SIGNATURE: signature(settings.PUBLIC_URL + url)})


def post_json(client, path, body):
    """A JSON body, which is signed through its hash in the query."""
    url = f"{path}?bodySHA256={hashlib.sha256(body).hexdigest()}"
    headers = {SIGNATURE: signature(settings.PUBLIC_URL + url)}
    return client.post(url, body, content_type="application/json", headers=headers)


def document(response):
    """The TwiML of an answer."""
    assert response.status_code == 200, response.content
    assert response["Content-Type"] == "text/xml; charset=utf-8"
    return ElementTree.fromstring(response.content)


def verbs(response):
    return [verb.tag for verb in document(response)]


def token(response):
    return document(response).find(".//Parameter[@name='token']").get("value")
