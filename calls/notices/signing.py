"""How a receiver knows that a webhook is ours: signed as Standard Webhooks has it, https://www.standardwebhooks.com"""

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Iterable


PREFIX = "whsec_"


def headers(event: str, timestamp: int, body: bytes, secrets: Iterable[str]) -> dict[str, str]:
    """Those of a webhook with this id, sent at that time (seconds since 1970). While secrets rotate, each one signs."""
    signed = b".".join([event.encode(), str(timestamp).encode(), body])
    signatures = [_signature(secret, signed) for secret in secrets]
    return {
        "webhook-id": event,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def _signature(secret: str, signed: bytes) -> str:
    key = b64decode(secret.removeprefix(PREFIX))
    return b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
