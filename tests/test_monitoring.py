"""Alerts and dashboard in deploy/, and what docs/operations.md says of them, against what running servers give."""

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from calls.media.audio import SILENCE
from calls.metrics import Refusal
from calls.sounds import sound
from tests.support.callers import Calls
from tests.support.servers import SPEECH, Server, until


ROOT = Path(__file__).resolve().parent.parent
PROMETHEUS = ROOT / "deploy" / "prometheus"
OPERATIONS = (ROOT / "docs/operations.md").read_text()
RULES = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"][0]["rules"]
ALERTS = {rule["alert"]: rule["expr"] for rule in RULES if "alert" in rule}
DASHBOARD = json.loads((ROOT / "deploy/grafana/dashboards/callstream.json").read_text())
PANELS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
TOKEN = "0123456789abcdef0123"


def section(title: str) -> str:
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", OPERATIONS, re.DOTALL | re.MULTILINE)[1]


def promtool(*words: str, **options) -> str:
    if not shutil.which("promtool"):
        (pytest.fail if os.environ.get("REQUIRE_SERVICES") else pytest.skip)(
            "promtool is not installed (Debian: prometheus)"
        )
    ran = subprocess.run(["promtool", *words], cwd=PROMETHEUS, capture_output=True, text=True, **options)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def named(text: str) -> set[str]:
    return set(re.findall(r"\bcallstream_[a-z_]+", text))


# --- the files --------------------------------------------------------------------------------------------------------


def test_promtool_takes_the_rules_and_each_alert_fires_when_it_should():
    promtool("check", "rules", "alerts.yml")
    promtool("test", "rules", "alerts_test.yml")


def test_each_alert_is_tried_both_ways():
    groups = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]
    tried = [(case["alertname"], bool(case.get("exp_alerts"))) for group in groups for case in group["alert_rule_test"]]
    assert set(tried) == set(itertools.product(ALERTS, [True, False]))


def test_promtool_takes_the_configuration(tmp_path):
    """With a token where compose.yaml writes it."""
    text = (PROMETHEUS / "prometheus.yml").read_text()
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "prometheus.yml").write_text(text.replace("/tmp/metrics_token", str(tmp_path / "token")))
    shutil.copy(PROMETHEUS / "alerts.yml", tmp_path)
    promtool("check", "config", str(tmp_path / "prometheus.yml"))


def test_prometheus_can_read_what_the_dashboard_asks_for(tmp_path):
    rules = [
        {"record": f"panel:{number}", "expr": expr.replace("$__rate_interval", "1m")}
        for number, expr in enumerate(PANELS)
    ]
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", str(tmp_path / "panels.yml"))


def test_each_alert_is_explained_and_each_explained_one_is_there():
    headings = re.findall(r"^### (\w+)$", section("Alerts of Prometheus"), re.MULTILINE)
    assert headings == list(ALERTS)


def test_each_reason_for_a_refusal_is_explained():
    assert re.findall(r"^\| `([^`]+)` \|", section("Metrics").split("#### Why somebody")[1], re.MULTILINE) == list(
        Refusal
    )


# --- running servers --------------------------------------------------------------------------------------------------


class Scraped:
    """What one worker of the server answers, whichever it is."""

    def __init__(self, server: Server) -> None:
        asked = urllib.request.Request(f"{server.url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(asked) as answer:
            self.text = answer.read().decode()
        self.families = list(text_string_to_metric_families(self.text))
        samples = [sample for family in self.families for sample in family.samples]
        self.names = {sample.name for sample in samples}
        self.values = {(each.name, *each.labels.values()): each.value for each in samples}
        self.workers = {key[1]: value for key, value in self.values.items() if key[0] == "callstream_streams_active"}
        self.ended = self.values["callstream_calls_total", "inbound", "completed"]
        self.waits = self.values["callstream_response_seconds_count",]
        self.greetings = self.values["callstream_first_audio_seconds_count",]
        self.counters = {key: value for key, value in self.values.items() if key[0].endswith(("_total", "_count"))}


def scraped(server: Server, what: str, holds) -> Scraped:
    """Asks until it is so."""

    def look() -> Scraped | None:
        now = Scraped(server)
        return now if holds(now) else None

    return until(look, what)


async def answers(stream):
    """Greets at once, and answers when the caller has said all."""
    await stream.play(sound("thanks"))
    async for media in stream.media():
        if media.timestamp >= (len(QUIET) + len(SPEECH)) // 8:
            break
    await stream.play(sound("thanks"))
    await stream.hang_up()


QUIET = SILENCE * 24_000


@pytest.mark.process
@pytest.mark.once
@pytest.mark.django_db(transaction=True)
def test_two_workers_and_their_chores_tell_of_all_of_them_and_forget_nothing_when_one_is_killed(tmp_path):
    own = {"METRICS_TOKEN": TOKEN, "CHORES": "true", "STREAM_HANDLERS": "answers=tests.test_monitoring.answers"}
    with Server("workers", tmp_path, **own) as server:
        scraped(server, "both workers", lambda now: len(now.workers) == 2)
        calls = Calls(server, 3, handler="answers", audio=QUIET + SPEECH + 2 * QUIET)
        scraped(server, "three calls on two workers", lambda now: sum(now.workers.values()) == 3)
        calls.result()
        before = scraped(server, "three calls", lambda now: (now.ended, now.waits, now.greetings) == (3, 3, 3))
        os.kill(int(min(before.workers)), signal.SIGKILL)
        after = scraped(server, "another worker", lambda now: len(now.workers) == 2 and now.workers != before.workers)
    assert {name: value for name, value in before.counters.items() if after.counters[name] < value} == {}
    assert (after.ended, after.waits, after.greetings) == (3, 3, 3)
    promtool("check", "metrics", input=after.text)
    assert set().union(*map(named, [*ALERTS.values(), *PANELS])) - after.names == set()
    given = {f"{family.name}_total" if family.type == "counter" else family.name for family in after.families}
    assert set(re.findall(r"^\| `(callstream_\w+)`", section("Metrics"), re.MULTILINE)) == given
