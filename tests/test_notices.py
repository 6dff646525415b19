"""What is told to others: which news, once each, to whom, and with what in it."""

import datetime as dt
import threading

import pytest
from django.db import IntegrityError, connections, transaction
from django.utils import timezone

from calls.access.numbers import HIDDEN
from calls.models import Call, Delivery, Erasure, Notice, Receiver
from calls.notices import facts, telling
from calls.notices.delivery import payload
from calls.notices.keeping import KEPT, forget_old
from calls.notices.outbox import notify
from calls.notices.telling import tell
from calls.recordings.retention import Content, erase
from calls.summaries.summary import summarise
from tests.support.factories import (
    START,
    make_call,
    make_chunk,
    make_delivery,
    make_event,
    make_gap,
    make_live_call,
    make_receiver,
    make_recording,
    make_stream,
)


pytestmark = pytest.mark.django_db


def told() -> list[str]:
    return list(Notice.objects.order_by("pk").values_list("kind", flat=True))


def data() -> dict:
    return Notice.objects.latest("pk").data


# --- which news ------------------------------------------------------------------------------------------------------


def test_with_nobody_to_tell_nothing_is_kept_and_one_query_asked(django_assert_num_queries):
    call = make_recording()
    with django_assert_num_queries(1):
        assert not tell()
    assert (told(), Call.objects.get(pk=call.pk).told) == ([], Call.Told.NOTHING)


def test_a_call_that_is_over_and_its_recording_are_told_once():
    make_receiver()
    make_recording()
    for _ in range(3):
        tell()
    assert told() == ["call.ended", "recording.ready"]
    assert Delivery.objects.count() == 2


def test_a_call_that_runs_is_not_told():
    make_receiver()
    make_live_call()
    tell()
    assert told() == []


def test_a_call_that_was_not_recorded_has_no_news_of_a_recording():
    make_receiver()
    make_stream(make_call(), ended_at=START)
    tell()
    tell()
    assert told() == ["call.ended"]
    assert Call.objects.get().told == Call.Told.ALL


def test_a_handler_that_keeps_no_recording_is_not_reported_to_have_one():
    make_receiver()
    stream = make_stream(make_call(audio_samples=8000), ended_at=START, length=8000)
    make_gap(stream, reason="paused", length=8000)
    tell()
    assert told() == ["call.ended"]


@pytest.mark.parametrize("reason", ["timestamp", "sequence", "crash", "over_cap", "rejected"])
def test_a_recording_with_a_part_missing_is_incomplete_and_says_what(reason):
    make_receiver(kinds=["recording.incomplete"])
    call = make_recording()
    for start in (0, 8000):
        make_gap(call.streams.get(), reason=reason, start=start, length=4000)
    tell()
    assert told() == ["recording.incomplete"]
    assert data()["recording"] == {
        "seconds": 2.0,
        "missing": [{"track": "inbound", "reason": reason, "seconds": 1.0, "pieces": 2}],
    }


@pytest.mark.parametrize("reason", ["paused", "cleared"])
def test_what_was_left_out_on_purpose_is_not_missing(reason):
    make_receiver()
    make_gap(make_recording().streams.get(), reason=reason)
    tell()
    assert told()[-1] == "recording.ready"


def test_a_recording_of_which_nothing_was_kept_is_incomplete():
    make_receiver()
    stream = make_stream(make_call(audio_samples=8000), ended_at=START, length=8000)
    make_gap(stream, reason="over_cap", length=8000)
    tell()
    assert told()[-1] == "recording.incomplete"


def test_a_part_of_the_call_without_a_stream_is_missing_if_the_stream_was_lost():
    make_receiver()
    call = make_recording()
    call.streams.update(absent=12_000, end_reason="shutdown")
    tell()
    assert data()["recording"]["missing"] == [{"track": "inbound", "reason": "no_stream", "seconds": 1.5, "pieces": 1}]


def test_a_stream_whose_process_died_is_incomplete_even_if_nothing_is_known_to_be_lost():
    make_receiver()
    make_recording().streams.update(end_reason="interrupted")
    tell()
    assert data()["recording"]["missing"][0]["reason"] == "interrupted"


def test_a_recording_waits_for_its_figures_but_not_for_long():
    make_receiver()
    call = make_recording(ended_at=timezone.now())
    tell()
    assert told() == ["call.ended"]
    Call.objects.filter(pk=call.pk).update(measured_at=timezone.now(), response_ms=900)
    tell()
    assert told()[-1] == "recording.ready"
    assert data()["call"]["response_ms"] == 900
    make_recording(ended_at=timezone.now() - telling.MEASURING)
    tell()
    assert told()[-1] == "recording.ready"


def test_news_wait_until_the_streams_are_over():
    make_receiver()
    call = make_recording(ended_at=timezone.now())
    call.streams.update(ended_at=None)
    tell()
    assert told() == []
    call.streams.update(ended_at=timezone.now())
    tell()
    assert told() == ["call.ended"]


def test_the_end_of_a_call_does_not_wait_for_ever_for_its_stream():
    make_receiver()
    call = make_recording(ended_at=timezone.now() - telling.CLOSING)
    call.streams.update(ended_at=None)
    tell()
    tell()
    assert told() == ["call.ended"]


def test_a_call_that_a_late_callback_ends_in_the_past_is_told():
    receiver = make_receiver(since=START)
    make_call(ended_at=timezone.now())
    tell()
    make_call(ended_at=receiver.since + dt.timedelta(seconds=1))
    tell()
    assert told() == ["call.ended", "call.ended"]


def test_a_call_whose_end_was_guessed_too_early_ends_once_more():
    make_receiver(kinds=["call.ended", "recording.ready"])
    call = make_recording(status="completed")
    make_event(call, source="system", kind="presumed-over", key="presumed-over")
    tell()
    assert data()["call"]["end_is_a_guess"]
    call.refresh_from_db()
    call.save(update_fields=call.revive(START))
    tell()
    assert told() == ["call.ended", "recording.ready"]
    later = timezone.now() - dt.timedelta(minutes=5)
    Call.objects.filter(pk=call.pk).update(ended_at=later, status="completed", audio_samples=24_000)
    tell()
    assert told() == ["call.ended", "recording.ready"] * 2
    assert Notice.objects.values("uuid").distinct().count() == 4
    assert not data()["call"]["end_is_a_guess"]


def test_a_recording_that_grows_after_it_was_told_is_told_again():
    make_receiver(kinds=["recording.ready", "recording.incomplete"])
    call = make_recording()
    gap = make_gap(call.streams.get(), reason="crash", start=16_000, length=4000)
    call.streams.update(length=20_000)
    summarise(call.pk, using="default")
    tell()
    assert told() == ["recording.incomplete"]
    gap.delete()
    make_chunk(call.streams.get(), b"\xff" * 8000, start=16_000)
    call.streams.update(length=24_000)
    summarise(call.pk, using="default")
    for _ in range(2):
        tell()
    assert told() == ["recording.incomplete", "recording.ready"]


def test_a_summary_that_changes_nothing_tells_nothing_again():
    make_receiver()
    call = make_recording()
    for _ in range(3):
        summarise(call.pk, using="default")
        tell()
    assert told() == ["call.ended", "recording.ready"]
    assert Call.objects.get().told == Call.Told.ALL


def test_erased_audio_is_no_recording():
    make_receiver()
    call = make_recording()
    erase(call, "asked for", audio_only=True)
    summarise(call.pk, using="default")
    tell()
    assert told() == ["call.ended"]


def test_a_hundred_calls_and_more_are_told_in_several_rounds(monkeypatch):
    monkeypatch.setattr(telling, "BATCH", 2)
    make_receiver(kinds=["call.ended"])
    for _ in range(5):
        make_call()
    assert [tell() for _ in range(3)] == [True, True, False]
    assert told() == ["call.ended"] * 5


def test_telling_costs_no_query_per_call_but_the_note(django_assert_max_num_queries):
    make_receiver()
    for _ in range(20):
        make_recording()
    with django_assert_max_num_queries(30 + 2 * 20):
        tell()
    assert len(told()) == 40


# --- to whom ---------------------------------------------------------------------------------------------------------


def test_each_receiver_is_told_of_the_kinds_that_it_wants():
    ends, recordings = make_receiver(kinds=["call.ended"]), make_receiver(kinds=["recording.ready"])
    make_recording()
    tell()
    assert [delivery.notice.kind for delivery in ends.deliveries.all()] == ["call.ended"]
    assert [delivery.notice.kind for delivery in recordings.deliveries.all()] == ["recording.ready"]


def test_what_was_over_before_there_was_a_receiver_is_not_told_to_it():
    make_receiver()
    new = make_receiver(since=START + dt.timedelta(hours=1))
    make_recording()
    tell()
    assert (len(told()), new.deliveries.count()) == (2, 0)


def test_a_receiver_that_is_switched_off_is_told_nothing():
    make_receiver(is_active=False)
    make_recording()
    tell()
    assert told() == []


def test_a_kind_that_is_wanted_later_brings_nothing_up_again():
    receiver = make_receiver(kinds=["review.done"])
    make_recording()
    tell()
    Receiver.objects.filter(pk=receiver.pk).update(kinds=["call.ended", "recording.ready"])
    tell()
    assert told() == []


def test_others_have_notices_stored_by_one_function():
    wants, chosen = make_receiver(kinds=["alert.fired"]), make_receiver(kinds=[])
    make_receiver(kinds=["alert.over"])
    notify("alert.fired", {"rule": "slow\x00"}, "7:1")
    notify("alert.fired", {"rule": "slow"}, "7:1")
    notify("alert.fired", {"rule": "busy"}, "7:2", to=[chosen])
    assert told() == ["alert.fired"] * 2
    assert [wants.deliveries.get().notice.key, chosen.deliveries.get().notice.key] == ["7:1", "7:2"]
    assert wants.deliveries.get().notice.data == {"rule": "slow\ufffd"}


def test_a_notice_for_nobody_is_not_stored():
    make_receiver(kinds=["call.ended"])
    off = make_receiver(is_active=False)
    notify("alert.over", {}, "1")
    notify("alert.over", {}, "2", to=[off])
    assert told() == []


def test_a_notice_of_a_transaction_that_fails_is_none():
    make_receiver()
    with transaction.atomic():
        notify("alert.fired", {}, "1")
        transaction.set_rollback(True)
    assert told() == []


@pytest.mark.django_db(transaction=True)
def test_two_machines_that_look_at_once_tell_each_call_once():
    make_receiver()
    for _ in range(30):
        make_recording()
    start = threading.Barrier(2)

    def look() -> None:
        start.wait()
        tell()
        connections.close_all()

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tell()
    assert (Notice.objects.count(), Delivery.objects.count()) == (60, 60)


# --- what is in it ---------------------------------------------------------------------------------------------------


def test_the_facts_of_a_call_are_told_and_no_parameters_of_requests():
    make_receiver()
    call = make_call(parameters={"ApiVersion": "secret"}, price="-0.0085", price_unit="USD", data={"order": 7})
    call.tags.create(name="refund")
    tell()
    said = data()["call"]
    assert (said["sid"], said["from_number"], said["to_number"]) == (call.sid, "+15550100001", "+15550100002")
    assert (said["data"], said["tags"], said["price"]) == ({"order": 7}, ["refund"], "-0.0085")
    assert said["ended_at"] == "2026-03-14T15:10:26.000Z"
    assert said["url"] == f"https://voice.example.org/admin/calls/call/{call.pk}/change/"
    assert "secret" not in str(data())


def test_whom_numbers_are_hidden_from_learns_neither_them_nor_the_name():
    make_receiver()
    make_call(
        pk=12345678,
        caller_name="ANNA SMITH",
        forwarded_from="+15550100003",
        data={"back": "+1 (555) 010-0001", "who": "Anna Smith"},
    ).tags.create(name="call 5550100009")
    tell()
    notice = Notice.objects.get(kind="call.ended")
    said = payload(notice, with_numbers=False)
    assert said["data"]["call"]["from_number"] == "+•••••••0001"
    assert said["data"]["call"]["caller_name"] == HIDDEN
    assert "555" not in str(said).replace(str(notice.uuid), "")
    assert "nna" not in str(said)
    assert said["data"]["call"]["url"].endswith("/12345678/change/")
    assert payload(notice, with_numbers=True)["data"]["call"]["from_number"] == "+15550100001"


def test_text_that_no_database_takes_is_told_without_it():
    make_receiver()
    make_call(data={"a": "x" * 9000})
    tell()
    assert len(data()["call"]["data"]["a"]) == 4000


def test_a_moment_is_told_in_utc():
    zone = dt.timezone(dt.timedelta(hours=2))
    assert facts.moment(START.astimezone(zone)) == "2026-03-14T15:09:26.000Z"
    assert facts.moment(None) is None


# --- what becomes of it ----------------------------------------------------------------------------------------------


def test_an_erased_call_takes_what_was_to_be_told_of_it_along():
    make_receiver()
    call = make_recording()
    tell()
    assert "2 webhooks" in Content.of([call]).lines()
    erase(call, "asked for")
    assert (Notice.objects.count(), Delivery.objects.count(), Erasure.objects.count()) == (0, 0, 1)


def test_what_was_told_long_ago_is_forgotten_unless_somebody_has_it_sent_again():
    old = timezone.now() - KEPT - dt.timedelta(minutes=1)
    again, done = make_delivery(), make_delivery(status="delivered")
    make_delivery(status="given_up")
    Notice.objects.filter(pk__in=[again.notice_id, done.notice_id]).update(created_at=old)
    assert not forget_old()
    assert Delivery.objects.count() == 2
    assert not Delivery.objects.filter(pk=done.pk).exists()


def test_a_row_that_was_created_before_twilio_knew_the_call_leaves_its_notices_behind():
    make_receiver()
    pending = make_call(sid=None, status="failed")
    tell()
    known = make_live_call()
    Call.objects.claim(pending.pk, known.sid)
    tell()
    assert [notice.call for notice in Notice.objects.all()] == [known]


# --- what the database keeps true ------------------------------------------------------------------------------------


def test_the_database_refuses_what_may_not_be():
    delivery = make_delivery()
    twice = {"notice": delivery.notice, "receiver": delivery.receiver}
    wrong = [
        lambda: Delivery.objects.create(**twice),
        lambda: make_delivery(status="lost"),
        lambda: Notice.objects.create(kind=delivery.notice.kind, key=delivery.notice.key),
        lambda: Notice.objects.create(kind="call.began", key="1"),
    ]
    for make in wrong:
        with pytest.raises(IntegrityError), transaction.atomic():
            make()


def test_each_question_has_its_index():
    now = timezone.now()
    questions = {
        "call_end_untold": Call.objects.untold(Call.Told.NOTHING, now),
        "call_recording_untold": Call.objects.untold(Call.Told.END, now),
        "delivery_by_kind": Delivery.objects.filter(kind="call.ended").order_by("-pk")[:5],
        "delivery_by_status": Delivery.objects.filter(status="waiting").order_by("-pk")[:5],
        "delivery_by_receiver": Delivery.objects.filter(receiver=1).order_by("-pk")[:5],
        "delivery_due": Delivery.objects.due(now).filter(receiver=1)[:4],
        "notice_oldest": Notice.objects.filter(created_at__lt=now).order_by("created_at")[:5],
    }
    with transaction.atomic():
        for name, question in questions.items():
            assert name in explained(question), name


def explained(question) -> str:
    connection = connections["default"]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
    return question.explain()
