"""Queues deal out each call once, to one reviewer, oldest first, whatever the rule; and none is forgotten."""

import datetime as dt
import threading

import pytest
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from calls.media import audio
from calls.models import Answer, AudioChunk, Call, Review, ReviewQueue, Stream
from calls.recordings.retention import Content, erase
from calls.reviews.answering import Missing, Taken, keep, submit
from calls.reviews.dealing import begin, deal, give_back, next_call
from calls.reviews.rules import UNSETTLED, matching, settle, waiting
from tests.support.factories import (
    START,
    make_call,
    make_chunk,
    make_live_call,
    make_queue,
    make_review,
    make_scorecard,
    make_staff,
    make_stream,
)


pytestmark = pytest.mark.django_db
HOUR = dt.timedelta(hours=1)


def recorded(after=0, **facts):
    """A call with a recording, so many minutes after the others."""
    call = make_call(**{"audio_samples": 8000, "created_at": START + dt.timedelta(minutes=after), **facts})
    make_chunk(make_stream(call), audio.tone(440, 20))
    return call


def reviewer():
    return make_staff("view_call", "listen_call", "review_call")


def answered(review, *values):
    """Answers to the questions of `make_scorecard`, submitted."""
    keep(review, dict(zip(review.version.questions.all(), values or (5, True), strict=False)))
    submit(review)
    return review


def bulk(facts):
    """Calls with recordings, a second apart."""
    calls = Call.objects.bulk_create(
        Call(**{"sid": f"CA{key:032x}", "created_at": at, "ended_at": at, "audio_samples": 160, **more})
        for key, more in enumerate(facts)
        if (at := START + dt.timedelta(seconds=key))
    )
    streams = Stream.objects.bulk_create(
        Stream(
            call=call,
            sid=f"MZ{call.pk:032x}",
            nonce=f"{call.pk}",
            started_at=call.created_at,
            handler_failed=bool(call.response_ms_max),
        )
        for call in calls
    )
    AudioChunk.objects.bulk_create(
        AudioChunk(stream=stream, track="inbound", index=0, start=0, length=160, payload=b"\xff" * 160, peaks=b"")
        for stream in streams
    )
    return calls


def found(queue):
    return set(matching(queue))


# --- which calls -----------------------------------------------------------------------------------------------------


def test_one_in_ten_is_one_in_ten_of_any_calls():
    bulk({"handler": "ab"[key % 2]} for key in range(2000))
    assert matching(make_queue(nth=10)).count() == pytest.approx(200, abs=3)
    # Also of calls that come by turns, where every tenth key would have only one of the two.
    assert matching(make_queue(nth=10, handler="a")).count() == pytest.approx(100, abs=3)


def test_which_call_is_one_of_ten_does_not_depend_on_when_it_is_asked():
    queue = make_queue(nth=3)
    calls = [recorded() for _ in range(30)]
    before = found(queue)
    Call.objects.filter(pk=calls[0].pk).delete()
    recorded()
    assert before - {calls[0]} <= found(queue)


def test_one_in_one_is_every_call():
    calls = {recorded() for _ in range(5)}
    assert found(make_queue(nth=1)) == calls


def test_a_call_whose_handler_failed_is_found():
    call, other = recorded(), recorded()
    make_stream(call, handler_failed=True)
    make_stream(call, handler_failed=True)
    make_stream(other)
    assert list(matching(make_queue(rule="failed"))) == [call]


def test_a_call_with_an_answer_that_took_longer_is_found():
    slow = recorded(response_ms_max=3001, measured_at=START)
    recorded(response_ms_max=3000, measured_at=START)
    recorded()
    assert found(make_queue(rule="slow", threshold_ms=3000)) == {slow}


def test_a_call_that_is_measured_late_is_dealt_late():
    queue, user = make_queue(rule="slow"), reviewer()
    old = recorded(after=0)
    recorded(after=1, response_ms_max=4000, measured_at=timezone.now())
    assert next_call(queue, user) != old.pk
    answered(deal(queue, user))
    queue.refresh_from_db()
    assert deal(queue, user) is None
    Call.objects.filter(pk=old.pk).update(response_ms_max=5000, measured_at=timezone.now())
    assert deal(queue, user).call == old


def test_a_running_call_one_without_a_recording_and_one_before_the_queue_are_not_found():
    make_live_call(audio_samples=8000)
    recorded(audio_samples=0)
    recorded(after=-1)
    assert found(make_queue()) == set()


def test_a_call_whose_recording_was_paused_throughout_is_not_found():
    make_call(audio_samples=8000)
    make_stream(make_call(audio_samples=8000))
    assert list(waiting(make_queue())) == []


def test_only_calls_of_the_handler_are_found():
    call = recorded(handler="sales")
    recorded(handler="support")
    assert found(make_queue(handler="sales")) == {call}


# --- dealing ---------------------------------------------------------------------------------------------------------


def test_the_oldest_call_is_dealt_first():
    recorded(after=2)
    oldest = recorded(after=1)
    assert deal(make_queue(), reviewer()).call == oldest


def test_two_reviewers_get_two_calls():
    calls = {recorded(after=1), recorded(after=2)}
    queue = make_queue()
    assert {deal(queue, reviewer()).call, deal(queue, reviewer()).call} == calls
    assert deal(queue, reviewer()) is None


def test_who_asks_again_gets_the_call_that_they_have():
    queue, user = make_queue(), reviewer()
    recorded(after=1)
    recorded(after=2)
    assert deal(queue, user) == deal(queue, user)


def test_a_reviewed_call_is_not_dealt_again():
    queue = make_queue()
    recorded()
    answered(deal(queue, reviewer()))
    assert deal(queue, reviewer()) is None


def test_two_queues_deal_the_same_call_each():
    recorded()
    assert deal(make_queue(), reviewer()).call == deal(make_queue(), reviewer()).call


def test_a_review_of_no_queue_takes_no_call_from_one():
    call = recorded()
    make_review(call)
    assert deal(make_queue(), reviewer()).call == call


def test_a_call_that_was_not_reviewed_in_time_goes_to_another():
    queue, first, second = make_queue(hours=1), reviewer(), reviewer()
    recorded()
    review = deal(queue, first)
    assert deal(queue, second) is None
    Review.objects.filter(pk=review.pk).update(expires_at=timezone.now() - HOUR)
    assert deal(queue, second).call == review.call
    assert deal(queue, first) is None


def test_a_late_reviewer_keeps_a_call_that_nobody_else_has_asked_for():
    queue, user = make_queue(), reviewer()
    recorded()
    review = deal(queue, user)
    Review.objects.filter(pk=review.pk).update(expires_at=timezone.now() - HOUR)
    assert deal(queue, user) == review
    assert deal(queue, user).expires_at > timezone.now()


def test_whoever_writes_keeps_the_call():
    queue, user = make_queue(), reviewer()
    recorded()
    review = deal(queue, user)
    Review.objects.filter(pk=review.pk).update(expires_at=timezone.now() - HOUR)
    keep(review, {})
    assert deal(queue, reviewer()) is None


def test_a_call_that_was_given_back_goes_to_another_and_last_to_oneself():
    queue, user = make_queue(), reviewer()
    first, second = recorded(after=1), recorded(after=2)
    give_back(deal(queue, user))
    assert deal(queue, user).call == second
    assert deal(queue, reviewer()).call == first


def test_who_gets_a_call_again_goes_on_with_what_they_had_written():
    queue, user = make_queue(), reviewer()
    recorded()
    review = deal(queue, user)
    keep(review, {review.version.questions.first(): 3})
    give_back(review)
    again = deal(queue, user)
    assert (again, again.answers.get().number) == (review, 3)


def test_who_gets_a_call_again_and_had_written_nothing_is_asked_the_questions_of_today():
    queue, user = make_queue(), reviewer()
    recorded()
    give_back(deal(queue, user))
    with transaction.atomic():
        current = queue.scorecard.ask([type(queue.scorecard.current().questions.first())(text="New?")], None)
    assert deal(queue, user).version == current


def test_a_queue_that_is_switched_off_deals_nothing_and_takes_what_is_out():
    queue, user = make_queue(), reviewer()
    recorded(after=1)
    recorded(after=2)
    review = deal(queue, user)
    queue.is_active = False
    queue.save()
    assert deal(queue, user) == review
    answered(review)
    assert deal(queue, user) is None


def test_a_queue_whose_scorecard_is_not_in_use_deals_nothing():
    recorded()
    assert deal(make_queue(make_scorecard(is_active=False)), reviewer()) is None


def test_a_queue_is_for_its_group():
    group = Group.objects.create(name="Night shift")
    queue, member, other = make_queue(reviewers=group), reviewer(), reviewer()
    member.groups.add(group)
    assert queue.is_for(member)
    assert not queue.is_for(other)
    assert make_queue().is_for(other)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("rule", ["nth", "failed", "slow"])
def test_reviewers_who_ask_at_once_get_different_calls(rule):
    for minute in range(8):
        make_stream(recorded(after=minute, response_ms_max=9000, measured_at=START), handler_failed=True)
    queue, dealt, errors = make_queue(rule=rule), [], []
    ready = threading.Barrier(6)

    def ask(user):
        try:
            ready.wait()
            dealt.append(deal(queue, user).call_id)
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    together([threading.Thread(target=ask, args=[reviewer()]) for _ in range(6)])
    assert errors == []
    assert len(set(dealt)) == 6


@pytest.mark.django_db(transaction=True)
def test_two_clicks_at_once_deal_one_call():
    for minute in range(4):
        recorded(after=minute)
    queue, user, dealt = make_queue(), reviewer(), []
    ready = threading.Barrier(4)

    def ask():
        ready.wait()
        dealt.append(deal(queue, user).call_id)
        connection.close()

    together([threading.Thread(target=ask) for _ in range(4)])
    assert (len(dealt), len(set(dealt))) == (4, 1)
    assert Review.objects.count() == 1


def together(threads):
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# --- answering -------------------------------------------------------------------------------------------------------


def test_a_submitted_review_marks_its_call_as_the_tick_box_does():
    user = reviewer()
    recorded()
    review = answered(deal(make_queue(), user))
    call = Call.objects.get()
    assert (call.reviewed, call.reviewed_by, call.reviewed_at) == (True, user, review.submitted_at)


def test_who_reviewed_a_call_first_stays():
    first = reviewer()
    call = recorded(reviewed=True, reviewed_by=first, reviewed_at=START)
    answered(deal(make_queue(), reviewer()))
    call.refresh_from_db()
    assert (call.reviewed_by, call.reviewed_at) == (first, START)


def test_a_review_without_what_is_required_is_not_submitted():
    recorded()
    review = deal(make_queue(), reviewer())
    keep(review, {review.version.questions.first(): 3})
    with pytest.raises(Missing):
        submit(review)
    assert Review.objects.get().is_draft


def test_a_review_is_submitted_once():
    recorded()
    review = answered(deal(make_queue(), reviewer()))
    assert not submit(review)
    assert not keep(review, {})
    assert review.answers.count() == 2


def test_a_late_review_counts_if_nobody_else_has_the_call():
    queue, first = make_queue(), reviewer()
    recorded()
    review = deal(queue, first)
    give_back(review)
    answered(review)
    assert Review.objects.done().get().queue == queue
    assert deal(queue, reviewer()) is None


def test_a_late_review_of_a_call_that_another_has_is_kept_and_not_submitted():
    queue, first, second = make_queue(), reviewer(), reviewer()
    recorded()
    late = deal(queue, first)
    give_back(late)
    deal(queue, second)
    with pytest.raises(Taken) as taken:
        answered(late)
    assert (taken.value.reviewer, taken.value.is_done) == (second, False)
    assert late.answers.count() == 2


def test_a_late_review_may_be_submitted_as_one_of_no_queue():
    queue, first, second = make_queue(), reviewer(), reviewer()
    recorded()
    late = deal(queue, first)
    give_back(late)
    answered(deal(queue, second))
    keep(late, dict(zip(late.version.questions.all(), (1, False), strict=False)))
    assert submit(late, apart=True)
    assert set(Review.objects.done().values_list("queue", "score")) == {(queue.pk, 100), (None, 0)}


def test_a_review_without_a_queue_is_begun_once():
    call, user, scorecard = recorded(), reviewer(), make_scorecard()
    assert begin(call, scorecard, user) == begin(call, scorecard, user)
    assert begin(call, scorecard, reviewer()).reviewer != user


def test_a_review_without_a_queue_that_is_dropped_is_gone():
    review = begin(recorded(), make_scorecard(), reviewer())
    assert give_back(review)
    assert not Review.objects.exists()


# --- erasing ---------------------------------------------------------------------------------------------------------


def test_an_erased_call_takes_its_reviews_with_it():
    user = reviewer()
    recorded()
    review = deal(make_queue(), user)
    answered(review, 1, False, "said her number")
    assert "1 review" in Content.of([review.call]).lines()
    erase(review.call, "asked for")
    assert not Review.objects.exists()
    assert not Answer.objects.exists()


def test_a_call_that_was_erased_while_it_was_out_vanishes():
    queue, user = make_queue(), reviewer()
    first, second = recorded(after=1), recorded(after=2)
    review = deal(queue, user)
    assert review.call == first
    erase(first, "asked for")
    assert not keep(review, {})
    assert deal(queue, user).call == second


def test_a_call_whose_audio_was_erased_is_not_dealt():
    erase(recorded(), "asked for", audio_only=True)
    assert deal(make_queue(), reviewer()) is None


# --- at any size -----------------------------------------------------------------------------------------------------


def old(days, **facts):
    began = timezone.now() - dt.timedelta(days=days)
    return recorded(created_at=began, ended_at=began, **facts)


def settled(queue):
    settle(queue)
    queue.refresh_from_db()
    return queue.settled_until


def test_a_queue_passes_over_what_it_has_dealt_for_good():
    queue = make_queue(since=timezone.now() - dt.timedelta(days=90))
    make_review(old(50), queue=queue)
    waits = old(40)
    make_review(old(30), queue=queue)
    assert settled(queue) == waits.created_at
    assert list(waiting(queue)) == [waits.pk]


def test_a_queue_never_passes_over_the_latest_days():
    queue = make_queue(since=timezone.now() - dt.timedelta(days=90))
    make_review(old(1), queue=queue)
    assert settled(queue) == pytest.approx(timezone.now() - UNSETTLED, abs=HOUR)


def test_a_queue_does_not_pass_over_what_is_out():
    queue = make_queue(since=timezone.now() - dt.timedelta(days=90))
    call = old(50)
    deal(queue, reviewer())
    assert settled(queue) == call.created_at


def test_a_queue_for_slow_calls_does_not_pass_over_one_that_is_measured_weeks_later():
    queue = make_queue(rule="slow", since=timezone.now() - dt.timedelta(days=90))
    call = old(50)
    assert settled(queue) > call.created_at
    Call.objects.filter(pk=call.pk).update(measured_at=timezone.now(), response_ms_max=9000)
    assert list(waiting(queue)) == [call.pk]


def test_calls_of_the_same_moment_are_all_found_page_by_page(monkeypatch):
    monkeypatch.setattr("calls.reviews.rules.PAGE", 2)
    keys = [recorded().pk for _ in range(5)]
    assert list(waiting(make_queue())) == keys


def test_a_rule_that_is_changed_meanwhile_is_not_settled_by_the_old_one():
    queue = make_queue(since=timezone.now() - dt.timedelta(days=90))
    type(queue).objects.filter(pk=queue.pk).update(nth=2)
    assert settled(queue) is None


def plan(calls):
    return calls.values_list("pk", flat=True)[:20].explain()


@pytest.fixture
def many():
    """Enough for PostgreSQL to prefer an index; a hundredth of them slow, and of a failed handler."""
    bulk({"measured_at": START, "response_ms_max": 9000} if key % 100 == 0 else {} for key in range(5000))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def test_the_next_call_is_found_by_an_index(many):
    for rule, index in (("nth", "call_newest"), ("failed", "stream_failed"), ("slow", "call_measured")):
        queue = make_queue(rule=rule, nth=10)
        make_review(Call.objects.last(), queue=queue)
        assert index in plan(matching(queue)), rule


# --- what cannot be --------------------------------------------------------------------------------------------------


def test_the_database_lets_no_two_have_a_call_of_one_queue():
    queue, call = make_queue(), recorded()
    make_review(call, queue=queue, reviewer=reviewer())
    with pytest.raises(IntegrityError), transaction.atomic():
        make_review(call, queue=queue, reviewer=reviewer())


@pytest.mark.parametrize(
    "facts",
    [{"score": 101}, {"submitted_at": None, "score": 5}, {"returned_at": START}],
    ids=["too good", "a scored draft", "submitted and returned"],
)
def test_the_database_refuses_a_review_that_is_none(facts):
    review = make_review()
    with pytest.raises(IntegrityError), transaction.atomic():
        Review.objects.filter(pk=review.pk).update(**facts)


@pytest.mark.parametrize("facts", [{"rule": "worst"}, {"nth": 0}, {"threshold_ms": 0}, {"hours": 0}])
def test_the_database_refuses_a_queue_that_is_none(facts):
    with pytest.raises(IntegrityError), transaction.atomic():
        make_queue(**facts)


def test_a_queue_says_its_rule_in_words():
    words = [
        make_queue(nth=10).rule_in_words,
        make_queue(nth=1, handler="sales").rule_in_words,
        make_queue(rule="failed").rule_in_words,
        make_queue(rule="slow", threshold_ms=2500).rule_in_words,
    ]
    slow = "An answer after more than 2.5 s"
    assert words == ["One call in 10", "Every call, of sales", "Handler failed", slow]


def test_a_queue_of_more_than_a_weeks_hours_is_refused_in_words():
    with pytest.raises(ValidationError, match="less than or equal to 168"):
        ReviewQueue(name="x", scorecard=make_scorecard(), hours=169).full_clean()
