"""`manage.py place_calls` as whoever types it sees it, against the simulator's REST API."""

import datetime as dt

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from calls.campaigns import results
from calls.models import Call, Campaign, CampaignCall
from simulator import ApiError
from tests.support.campaigns import called, end_calls, make_campaign, number, write_numbers
from tests.support.factories import make_call, make_staff


pytestmark = pytest.mark.django_db(transaction=True)
Status = CampaignCall.Status
FAST = ("--rate", "500/s", "--quiet", "none", "--no-wait")


@pytest.fixture
def numbers(tmp_path):
    return write_numbers(tmp_path, 3)


def place(*arguments):
    call_command("place_calls", *map(str, arguments))


def test_it_says_what_it_does_and_what_came_of_it(api, numbers, capsys):
    place(numbers, "--handler", "echo", *FAST)
    lines = capsys.readouterr().out.splitlines()
    pk = Campaign.objects.get().pk
    assert lines[0] == f"Campaign {pk}: 3 numbers for echo, 500/s, 20 at once, no quiet hours."
    sids = Call.objects.order_by("pk").values_list("sid", flat=True)
    assert sorted(line[9:] for line in lines[1:4]) == [
        f"Line {index + 2} (+1••••••000{index}): {sid}, queued." for index, sid in enumerate(sids)
    ]
    assert lines[4:] == [
        f"Campaign {pk}: 3 on the line.",
        f"What came of each row: manage.py place_calls --results {pk}",
    ]


def test_the_defaults_are_twilios_and_the_night(api, numbers):
    place(numbers, "--no-wait", "--quiet", "none", "--rate", "500/s")
    place(write_numbers(numbers.parent, 1, "other.csv"), "--no-wait", "--new")
    first, second = Campaign.objects.order_by("pk")
    assert (first.at_once, first.handler, second.rate) == (20, "voicemail", 1.0)
    assert (second.quiet_from, second.quiet_to) == (dt.time(21), dt.time(8))


def test_the_same_file_is_not_called_twice(api, numbers):
    place(numbers, *FAST)
    with pytest.raises(CommandError, match=r"was made of this very file, and finished .*: nobody is called twice"):
        place(numbers, *FAST)
    assert len(called(api)) == 3


def test_nor_are_most_of_one_that_has_changed(api, numbers):
    place(numbers, *FAST)
    write_numbers(numbers.parent, 5)
    with pytest.raises(CommandError, match=r"has changed since .*, which has called 3 of its 5 numbers. --new makes"):
        place(numbers, *FAST)
    assert len(called(api)) == 3


def test_whoever_means_to_call_all_of_them_again_says_so(api, numbers):
    place(numbers, *FAST)
    place(numbers, *FAST, "--new")
    assert called(api) == sorted([number(0), number(1), number(2)] * 2)


def test_the_same_command_goes_on_where_it_stopped_by_itself(api, numbers, capsys):
    api.refusals = [ApiError(401, 20003, "Authenticate")] * 9
    with pytest.raises(CommandError, match=r"Stopped. Twilio does not accept our credentials(.|\n)*3 not called yet"):
        place(numbers, *FAST)
    api.refusals = []
    place(numbers, *FAST)
    assert "numbers.csv was begun before: going on with campaign" in capsys.readouterr().out
    assert (len(api.calls), Campaign.objects.count()) == (3, 1)


def test_what_somebody_has_stopped_goes_on_only_if_that_is_said(api, numbers):
    make_campaign(3)
    api.refusals = [ApiError(401, 20003, "Authenticate")] * 9
    with pytest.raises(CommandError):
        place(numbers, *FAST)
    campaign = Campaign.objects.first()
    campaign.go_on()
    campaign.stop(by=make_staff(username="ada"))
    api.refusals = []
    with pytest.raises(CommandError, match=rf"was stopped by ada .*: manage.py place_calls --resume {campaign.pk}"):
        place(numbers, *FAST)
    assert not api.calls
    place("--resume", campaign.pk, "--no-wait")
    assert len(api.calls) == 3


def test_how_it_is_called_may_be_changed_when_it_goes_on(api):
    campaign = make_campaign(1, rate=0.001, quiet_from=dt.time(0), quiet_to=dt.time(23, 59))
    place("--resume", campaign.pk, "--rate", "30/min", "--at-once", 2, "--quiet", "none", "--no-wait")
    campaign.refresh_from_db()
    assert (campaign.rate, campaign.at_once, campaign.quiet_from) == (0.5, 2, None)
    assert len(api.calls) == 1


def test_what_is_unknown_is_called_again_only_by_its_line(api, capsys):
    campaign = make_campaign(2)
    api.mishaps = ["break"]
    place("--resume", campaign.pk, "--no-wait")
    lost = campaign.rows.get(status=Status.UNKNOWN).line
    assert f"--resume {campaign.pk} --call-again {lost}" in capsys.readouterr().out
    with pytest.raises(CommandError, match=r"Nothing is left of numbers.csv"):
        place("--resume", campaign.pk)
    other = ({2, 3} - {lost}).pop()
    with pytest.raises(CommandError, match=f"Line {other} is neither unknown nor refused"):
        place("--resume", campaign.pk, "--call-again", other)
    place("--resume", campaign.pk, "--call-again", lost, "--no-wait")
    assert sorted(row.status for row in campaign.rows.all()) == [Status.PLACED, Status.PLACED]
    assert len(called(api)) == 3


def test_only_quiet_ones_are_left(api, capsys):
    there = timezone.now() + dt.timedelta(hours=9)
    hours = {"quiet_from": (there - dt.timedelta(hours=1)).time(), "quiet_to": (there + dt.timedelta(hours=1)).time()}
    campaign = make_campaign(1, **hours)
    campaign.rows.update(number="+81312345678")
    place("--resume", campaign.pk, "--no-wait")
    said = capsys.readouterr().out
    assert "It is quiet for them now; the first one may be called " in said
    assert f"1 not called yet. Go on with: manage.py place_calls --resume {campaign.pk}" in said


def test_a_dry_run_asks_nobody_and_leaves_nothing(api, numbers, capsys):
    place(numbers, "--dry-run", "--quiet", "none", "--rate", "1/min")
    lines = capsys.readouterr().out.splitlines()
    assert [line[:20] for line in lines[:3]] == [f"line {index + 2}: {number(index)}" for index in range(3)]
    assert lines[3].startswith("3 would be called, the last one at ")
    assert (api.requests, Campaign.objects.count()) == ([], 0)


def test_a_dry_run_of_one_that_was_begun_tells_what_is_left(api, capsys):
    campaign = make_campaign(2)
    campaign.rows.filter(line=2).update(status=Status.OVER, claimed_at=timezone.now())
    place("--resume", campaign.pk, "--dry-run")
    said = capsys.readouterr().out
    assert f"line 3: {number(1)}" in said
    assert "1 would be called" in said


def test_numbers_whose_zone_nobody_knows_are_named(api, numbers, capsys):
    numbers.write_text("number\n+88213300655\n")
    place(numbers, "--dry-run")
    assert "Where line 2 would ring is not known: TIME_ZONE (UTC) is taken for it." in capsys.readouterr().out


def test_everything_that_is_wrong_is_said_before_anybody_is_called(api, numbers):
    numbers.write_text("number\n+14155550100\n12\n+14155550100\n")
    with pytest.raises(CommandError, match=r"line 3: “12” cannot be called(.|\n)*line 4: .* is in line 2 already"):
        place(numbers)
    assert (api.requests, Campaign.objects.count()) == ([], 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Name a file of numbers, or a campaign"),
        (["--resume", 7], "There is no campaign 7; the latest are none yet."),
        (["--results", 7], "There is no campaign 7"),
        (["--resume", 7, "--handler", "echo"], "--handler is said of a file"),
        (["numbers.csv", "--call-again", "7"], "--call-again goes with --resume"),
        (["numbers.csv", "--handler", "ecko"], "There is no handler 'ecko'"),
        (["numbers.csv", "--rate", "fast"], "fast is not a rate such as 1/s or 30/min"),
        (["numbers.csv", "--rate", "0/s"], "0/s is not a rate"),
        (["numbers.csv", "--quiet", "night"], "night are no hours such as 21:00-08:00, nor none"),
        (["--resume", 7, "--call-again", "x"], "x are no lines such as 7,9"),
    ],
)
def test_what_cannot_be_meant_is_said(arguments, said):
    with pytest.raises(CommandError, match=said):
        place(*arguments)


def test_without_credentials_no_campaign_is_made(api, numbers, settings):
    settings.TWILIO_ACCOUNT_SID = ""
    with pytest.raises(CommandError, match="set TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN"):
        place(numbers)
    assert not Campaign.objects.exists()


def test_a_campaign_is_forgotten_with_its_numbers_and_its_calls_stay(api, capsys):
    campaign = make_campaign(2)
    place("--resume", campaign.pk, "--no-wait")
    Campaign.objects.update(seen_at=timezone.now())
    with pytest.raises(CommandError, match="is running, or was until just now"):
        place("--forget", campaign.pk)
    Campaign.objects.update(seen_at=None)
    place("--forget", campaign.pk)
    assert capsys.readouterr().out.endswith("Forgotten, with 2 rows. Calls that were placed stay.\n")
    assert (Campaign.objects.count(), CampaignCall.objects.count(), Call.objects.count()) == (0, 0, 2)


# --- results


def test_the_results_are_a_table_that_no_spreadsheet_takes_for_formulas(api, capsys):
    campaign = make_campaign(4)
    campaign.rows.filter(line=5).update(columns={"order": "=1+1"}, not_before=timezone.now() + dt.timedelta(days=1))
    api.refusals = [ApiError(400, 21211, "no")]
    place("--resume", campaign.pk, "--no-wait")
    first = campaign.rows.filter(status=Status.PLACED).first()
    Call.objects.filter(pk=first.call_id).update(data={"answer": 7}, answered_by="human")
    end_calls()
    capsys.readouterr()
    place("--results", campaign.pk)
    head, *rows = capsys.readouterr().out.removeprefix("\ufeff").splitlines()
    assert head == "line,number,order,status,outcome,CallSid,called (UTC),answered by,duration (s),data,error"
    told = {row.partition(",")[0]: row for row in rows}
    assert f",called,completed,{first.call.sid}," in told[str(first.line)]
    assert told[str(first.line)].endswith(',human,7,"{""answer"": 7}",')
    assert told["5"] == f"5,'{number(3)},'=1+1,waiting,waiting,,,,,,"
    refused = campaign.rows.get(status=Status.FAILED).line
    assert ",refused,refused,," in told[str(refused)]


def test_results_come_in_batches(api, monkeypatch):
    monkeypatch.setattr(results, "BATCH", 2)
    campaign = make_campaign(5)
    lines = b"".join(results.csv_lines(campaign)).decode().splitlines()
    assert [line.partition(",")[0] for line in lines[1:]] == ["2", "3", "4", "5", "6"]


OUTCOMES = {
    "waiting": {"status": "waiting"},
    "refused": {"status": "failed"},
    "unknown": {"status": "unknown", "claimed_at": True},
    "being called": {"status": "calling", "claimed_at": True},
    "on the line": {"status": "placed", "claimed_at": True, "call": {"status": "ringing", "ended_at": None}},
    "completed": {"status": "over", "claimed_at": True, "call": {"status": "completed"}},
    "busy": {"status": "placed", "claimed_at": True, "call": {"status": "busy"}},
    "ended": {"status": "over", "claimed_at": True, "call": {"status": "in-progress"}},
    "erased": {"status": "over", "claimed_at": True},
}


@pytest.mark.parametrize("word", OUTCOMES)
def test_what_has_become_of_a_row_is_told_counted_and_found_alike(word):
    campaign, now = make_campaign(1), timezone.now()
    facts = dict(OUTCOMES[word])
    if call := facts.pop("call", None):
        facts["call"] = make_call(**call)
    campaign.rows.update(**{**facts, **({"claimed_at": now} if "claimed_at" in facts else {})})
    assert results.outcome_of(campaign.rows.get(), now).word == word
    assert [(one.word, many) for one, many in results.tally(campaign)] == [(word, 1)]
    found = [one.word for one in results.ORDER if campaign.rows.filter(results.having(one.word, now)).exists()]
    assert found == [word]


def test_a_row_whose_process_is_gone_is_told_as_unknown():
    campaign, now = make_campaign(1), timezone.now()
    campaign.rows.update(status="calling", claimed_at=now - dt.timedelta(minutes=1))
    assert results.tally(campaign) == [(results.UNKNOWN, 1)]
    assert results.outcome_of(campaign.rows.get(), now) == results.UNKNOWN
    assert campaign.rows.filter(results.having("unknown", now)).exists()
