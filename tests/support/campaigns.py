"""Campaigns for tests: as `place_calls` makes them, and processes of it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from django.utils import timezone

from calls.models import Call, Campaign, CampaignCall
from tests.support.servers import ROOT, database_url


OURS = "+14155550199"


def number(index: int) -> str:
    return f"+1415555{index:04d}"


def make_campaign(rows: int = 3, *, waiting_since: Any = None, **facts: Any) -> Campaign:
    """One that has not begun: nobody is quiet, and all may be called at once."""
    plan = {"handler": "echo", "from_number": OURS, "rate": 1000.0, "at_once": 20, "columns": ["order"]}
    known = {"name": "numbers.csv", "digest": os.urandom(8).hex(), "size": rows, **plan}
    campaign = Campaign.objects.create(**{**known, **facts})
    CampaignCall.objects.bulk_create(
        CampaignCall(campaign=campaign, line=index + 2, number=number(index), columns={"order": str(index)})
        for index in range(rows)
    )
    return campaign


def write_numbers(folder: Path, count: int, name: str = "numbers.csv") -> Path:
    path = folder / name
    path.write_text("number,order\n" + "".join(f"{number(index)},{index}\n" for index in range(count)))
    return path


def start(*arguments: Any, api: str, log: Path, **environment: str) -> subprocess.Popen[bytes]:
    """A process of place_calls on the tests' database, whose Twilio is `api`."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    surroundings = {"DJANGO_SETTINGS_MODULE": "config.settings", "DATABASE_URL": database_url()}
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "manage.py", "place_calls", *map(str, arguments)],
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**known, **surroundings, "TWILIO_API_URL": api, "DEFAULT_FROM_NUMBER": OURS, **environment},
        )


def end_calls(**facts: Any) -> None:
    """As callbacks do."""
    over = {"status": "completed", "ended_at": timezone.now(), "duration": 7, **facts}
    Call.objects.filter(ended_at=None, sid__isnull=False).update(**over)


def called(api: Any) -> list[str]:
    """Whom Twilio was asked to call, each as often as it was."""
    return sorted(
        form["To"][0] for method, path, form in api.requests if method == "POST" and path.endswith("Calls.json")
    )
