"""Streams of a running call that only listen: start one, stop one."""

import logging
from collections.abc import Mapping, Sequence

from calls import addresses
from calls.models import Call
from calls.rest.client import address, twilio


logger = logging.getLogger(__name__)


def start_stream(call: Call, name: str, tracks: Sequence[str], parameters: Mapping[str, str]) -> str:
    """Has Twilio open a <Start> stream beside whatever the call does, and returns its SID. RestError: it does not.

    https://www.twilio.com/docs/voice/api/stream-resource
    """
    numbered: dict[str, str] = {}
    for number, (key, value) in enumerate(parameters.items(), 1):
        numbered |= {f"parameter{number}_name": key, f"parameter{number}_value": value}
    with twilio() as account:
        stream = account.calls(call.sid).streams.create(
            url=addresses.socket(),
            name=name,
            track="both_tracks" if len(tracks) == 2 else f"{tracks[0]}_track",
            status_callback=address(addresses.STREAM_STATUS),
            status_callback_method="POST",
            **numbered,
        )
    logger.info("stream_started call=%s stream=%s name=%s", call.sid, stream.sid, name)
    return str(stream.sid)


def stop_stream(call_sid: str, stream_sid: str) -> None:
    """Has Twilio stop a <Start> stream; the call goes on. RestError: it does not."""
    with twilio() as account:
        account.calls(call_sid).streams(stream_sid).update(status="stopped")
