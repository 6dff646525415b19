"""Writes a `.env` for development, with secrets of its own, if there is none: `python scripts/dotenv.py`.

Only the standard library, and nothing of Django: settings.py cannot be read before these secrets exist.
"""

import os
import secrets
from pathlib import Path


TEMPLATE = """\
# Written for development by `make run`, with random secrets. `.env.example` explains these settings and all others.
SECRET_KEY={secret_key}
PUBLIC_URL=http://127.0.0.1:8000
# Made up: the simulator signs with the same token. Put your own here to answer calls from Twilio.
TWILIO_ACCOUNT_SID=AC{account}
TWILIO_AUTH_TOKEN={auth_token}
"""


def write_dotenv(path: Path) -> bool:
    """Whether it was written: a file that is there already is left as it is."""
    content = TEMPLATE.format(
        secret_key=secrets.token_urlsafe(50),
        account=secrets.token_hex(16),
        auth_token=secrets.token_hex(16),
    )
    try:
        # Nobody but its owner may read it, not even for the moment before a chmod.
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(file, "w") as stream:
        stream.write(content)
    return True


if __name__ == "__main__":
    if write_dotenv(Path(__file__).resolve().parent.parent / ".env"):
        print("Wrote .env with fresh random secrets")
