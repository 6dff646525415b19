"""Reviewing in the admin: who may, what is kept of what they type, what others see of it, and the table of all."""

import csv
import datetime as dt
import io

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone

from calls.models import Call, RecordingAccess, Review, ReviewQueue
from calls.recordings.retention import erase
from calls.reviews.dealing import deal, give_back
from tests.conftest import HTTPS
from tests.support.factories import (
    START,
    make_call,
    make_queue,
    make_recording,
    make_review,
    make_scorecard,
    make_staff,
)


pytestmark = pytest.mark.django_db
QUEUES = "/admin/calls/reviewqueue/"
REVIEWS = "/admin/calls/review/"
REVIEWER = ("view_call", "listen_call", "review_call")
FULL = {"q1": "4", "q2": "yes", "q3": "Fine."}


@pytest.fixture
def reviewer(client):
    user = make_staff(*REVIEWER)
    client.force_login(user)
    return user


@pytest.fixture
def lead(client):
    user = make_staff("view_call", "view_review", "export_call", "see_numbers")
    client.force_login(user)
    return user


def page(call, query=""):
    return f"/admin/calls/call/{call.pk}/change/{query}"


def dealt(user, **facts):
    """A call that a queue has dealt to them."""
    make_recording(seconds=1, **facts)
    return deal(make_queue(), user)


def send(client, review, button, **answers):
    return client.post(f"/admin/calls/call/{review.call_id}/review/{review.pk}/", {**answers, button: "1"})


def stored(review):
    return [answer.value for answer in review.answers.order_by("question__position")]


def said(client, response):
    return " ".join(str(message) for message in client.get(response["Location"]).context["messages"])


def html(response):
    return response.content.decode()


# --- who may ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lacking", REVIEWER)
def test_nobody_is_dealt_a_call_that_they_may_not_see_hear_and_review(client, lacking):
    client.force_login(make_staff(*(permission for permission in REVIEWER if permission != lacking)))
    make_recording()
    assert client.post(f"{QUEUES}{make_queue().pk}/deal/").status_code == 403
    assert not Review.objects.exists()


def test_nobody_is_dealt_a_call_of_a_queue_for_others(client, reviewer):
    make_recording()
    queue = make_queue(reviewers=Group.objects.create(name="Night shift"))
    assert client.post(f"{QUEUES}{queue.pk}/deal/").status_code == 403
    assert "for others" in html(client.get(QUEUES))


def test_dealing_takes_more_than_a_link(client, reviewer):
    make_recording()
    assert client.get(f"{QUEUES}{make_queue().pk}/deal/").status_code == 405


def test_nobody_writes_anothers_review(client, reviewer):
    review = dealt(make_staff(*REVIEWER))
    response = send(client, review, "_submit", **FULL)
    assert "There is no such review" in said(client, response)
    assert stored(review) == []


def test_who_may_no_longer_review_stores_nothing(client):
    user = make_staff("view_call")
    client.force_login(user)
    assert send(client, dealt(user), "_submit", **FULL).status_code == 403


def test_the_group_of_reviewers_may_review_and_see_no_numbers(client):
    user = User.objects.create_user("grace", is_staff=True)
    user.groups.add(Group.objects.get(name="Ops reviewer"))
    client.force_login(user)
    make_recording()
    response = client.post(f"{QUEUES}{make_queue().pk}/deal/", follow=True)
    assert "Review: Scorecard" in html(response)
    assert "+15550100001" not in html(response)


# --- the form --------------------------------------------------------------------------------------------------------


def test_a_dealt_call_opens_with_its_questions(client, reviewer):
    make_recording()
    response = client.post(f"{QUEUES}{make_queue().pk}/deal/", follow=True)
    assert response.redirect_chain[-1][0] == page(Call.objects.get(), f"?review={Review.objects.get().pk}")
    assert "How well did we listen?" in html(response)


def test_without_a_call_that_waits_the_queues_say_so(client, reviewer):
    response = client.post(f"{QUEUES}{make_queue(name='Tenth').pk}/deal/")
    assert said(client, response) == "No call waits in “Tenth”."


def test_submit_and_next_opens_the_next_call(client, reviewer):
    review = dealt(reviewer)
    following = make_recording()
    response = send(client, review, "_next", **FULL)
    review.refresh_from_db()
    assert (review.score, stored(review)) == (88, [4, True, "Fine."])
    assert response["Location"].startswith(page(following, "?review="))


def test_a_submitted_review_is_in_the_calls_history(client, reviewer):
    review = dealt(reviewer)
    send(client, review, "_submit", **FULL)
    entry = LogEntry.objects.get(user=reviewer)
    assert entry.get_change_message() == f"Reviewed with “{review.version}”: 88 %"


def test_an_answer_that_is_missing_is_asked_for_and_the_others_are_kept(client, reviewer):
    review = dealt(reviewer)
    response = client.get(send(client, review, "_next", q1="4", q3="He said no.")["Location"])
    assert "1 question still needs an answer" in html(response)
    assert "He said no." in html(response)
    assert (stored(review), Review.objects.get().is_draft) == ([4, "He said no."], True)


def test_a_draft_is_kept_and_shown_again(client, reviewer):
    review = dealt(reviewer)
    send(client, review, "_draft", q2="no", q3="Half of it")
    again = html(client.get(page(review.call)))
    assert "Half of it</textarea>" in again
    assert 'value="no" id="id_q2_1" checked' in again


def test_what_is_typed_is_kept_while_it_is_typed(client, reviewer):
    review = dealt(reviewer)
    assert send(client, review, "_autosave", q3="Hal").status_code == 200
    assert send(client, review, "_autosave", q3="Half").status_code == 200
    assert stored(review) == ["Half"]


def test_an_answer_that_is_taken_back_is_gone(client, reviewer):
    review = dealt(reviewer)
    send(client, review, "_draft", **FULL)
    send(client, review, "_draft", q1="4")
    assert stored(review) == [4]


@pytest.mark.parametrize("forged", ["6", "0", "-1", "4.0", "yes", "9" * 400, "٤", "\0"])
def test_a_choice_that_is_none_is_no_answer(client, reviewer, forged):
    review = dealt(reviewer)
    assert send(client, review, "_submit", **{**FULL, "q1": forged})["Location"].endswith("&missing=1")
    assert stored(review) == [True, "Fine."]


def test_text_that_a_database_refuses_is_stored_all_the_same(client, reviewer):
    review = dealt(reviewer)
    send(client, review, "_draft", q3="a\0b" + "c" * 20_000)
    assert stored(review) == ["a\ufffdb" + "c" * 9997]


def test_blanks_are_no_answer_to_a_question_that_needs_one(client, reviewer):
    make_recording()
    review = deal(make_queue(make_scorecard({"kind": "text"})), reviewer)
    assert send(client, review, "_submit", q1=" \r\n ")["Location"].endswith("&missing=1")


def test_a_call_that_is_given_back_is_not_on_the_page_any_more(client, reviewer):
    review = dealt(reviewer)
    response = send(client, review, "_return", q3="Somebody else should.")
    assert said(client, response).startswith("Given back")
    assert "review-form" not in html(client.get(page(review.call)))
    assert stored(review) == ["Somebody else should."]


def test_a_review_of_an_erased_call_ends_in_a_sentence(client, reviewer):
    review = dealt(reviewer)
    erase(review.call, "asked for")
    assert "its call was erased" in said(client, send(client, review, "_next", **FULL))
    assert send(client, review, "_autosave", **FULL).status_code == 410


def test_a_second_click_on_submit_changes_nothing(client, reviewer):
    review = dealt(reviewer)
    send(client, review, "_submit", **FULL)
    assert "already" in said(client, send(client, review, "_submit", q1="1", q2="no"))
    assert send(client, review, "_autosave", q1="1").status_code == 409
    assert stored(review) == [4, True, "Fine."]


def test_a_late_review_is_kept_and_may_be_submitted_apart(client, reviewer):
    review = dealt(reviewer)
    give_back(review)
    grace = make_staff(*REVIEWER, username="grace")
    deal(review.queue, grace)
    response = send(client, review, "_next", **FULL)
    assert "grace has it now" in said(client, response)
    assert "Submit all the same" in html(client.get(response["Location"]))
    send(client, review, "_apart", **FULL)
    review.refresh_from_db()
    assert (review.queue, review.score) == (None, 88)


@pytest.mark.parametrize("asked", ["x", "²", "0", "9" * 30, "-1"])
def test_an_address_that_names_no_review_shows_the_one_that_is_out(client, reviewer, asked):
    review = dealt(reviewer)
    assert client.get(page(review.call), {"review": asked}).context["review"] == review


def test_the_way_back_to_the_filtered_list_is_kept(client, reviewer):
    review = dealt(reviewer)
    url = f"/admin/calls/call/{review.call_id}/review/{review.pk}/?_changelist_filters=status%3Dcompleted"
    assert "_changelist_filters=status%3Dcompleted" in client.post(url, {"_draft": "1"})["Location"]


# --- without a queue -------------------------------------------------------------------------------------------------


def test_a_call_is_reviewed_without_a_queue(client, reviewer):
    call, scorecard = make_recording(), make_scorecard(name="Service")
    assert "Review with “Service”" in html(client.get(page(call)))
    client.post(f"/admin/calls/call/{call.pk}/review/", {"scorecard": scorecard.pk})
    review = Review.objects.get()
    assert send(client, review, "_submit", **FULL)["Location"] == page(call)
    assert Review.objects.done().get().queue is None


@pytest.mark.parametrize("scorecard", ["", "0", "x", "²", "9" * 30])
def test_a_scorecard_that_is_none_begins_no_review(client, reviewer, scorecard):
    call = make_recording()
    make_scorecard(is_active=False)
    client.post(f"/admin/calls/call/{call.pk}/review/", {"scorecard": scorecard})
    assert not Review.objects.exists()


def test_a_running_call_is_not_reviewed(client, reviewer):
    call = make_recording(status="in-progress", ended_at=None)
    scorecard = make_scorecard()
    assert client.post(f"/admin/calls/call/{call.pk}/review/", {"scorecard": scorecard.pk}).status_code == 404
    assert "Review with" not in html(client.get(page(call)))


def test_a_draft_of_no_queue_is_dropped(client, reviewer):
    call = make_recording()
    client.post(f"/admin/calls/call/{call.pk}/review/", {"scorecard": make_scorecard().pk})
    send(client, Review.objects.get(), "_return")
    assert not Review.objects.exists()


# --- what others see -------------------------------------------------------------------------------------------------


def test_a_calls_page_shows_what_reviewers_found(client, lead):
    review = make_review(
        make_recording(), answers=[4, True, "Call +15550100001"], reviewer=make_staff(username="grace")
    )
    shown = html(client.get(page(review.call)))
    for text in ("grace", "88 %", "4 of 5", "How well did we listen?", "Call +15550100001"):
        assert text in shown


def test_numbers_in_answers_are_masked(client):
    client.force_login(make_staff("view_call", "view_review", "export_call"))
    review = make_review(make_recording(), answers=[4, True, "Call +15550100001 or 030 1234567"])
    table = b"".join(client.get(f"{REVIEWS}export.csv").streaming_content).decode()
    for text in (html(client.get(page(review.call))), html(client.get(f"{REVIEWS}{review.pk}/change/")), table):
        assert "+•••••••0001" in text
        assert "5550100001" not in text
        assert "1234567" not in text


def test_reviewers_see_their_own_reviews_only(client, reviewer):
    own = make_review(make_recording(), answers=[4, True], reviewer=reviewer)
    other = make_review(own.call, answers=[1, False], reviewer=make_staff(username="grace"))
    assert "grace" not in html(client.get(page(own.call)))
    assert [review.pk for review in client.get(REVIEWS).context["cl"].result_list] == [own.pk]
    assert client.get(f"{REVIEWS}{own.pk}/change/").status_code == 200
    assert client.get(f"{REVIEWS}{other.pk}/change/").status_code == 302


def test_drafts_are_nobody_elses(client, lead):
    review = dealt(make_staff(*REVIEWER, username="grace"))
    send_as(review.reviewer, review, q3="half a thought")
    shown = html(client.get(page(review.call)))
    assert "grace reviews it" in shown
    assert "half a thought" not in shown
    assert "half a thought" not in html(client.get(f"{REVIEWS}{review.pk}/change/"))


def send_as(user, review, **answers):
    other = Client(headers=HTTPS)
    other.force_login(user)
    send(other, review, "_draft", **answers)


def test_who_may_only_see_calls_sees_no_reviews(client):
    client.force_login(make_staff("view_call"))
    review = make_review(make_recording(), answers=[4, True])
    assert "call-reviews" in html(client.get(page(review.call)))
    assert "88 %" not in html(client.get(page(review.call)))
    assert client.get(REVIEWS).status_code == 403
    assert client.get(f"{REVIEWS}summary/").status_code == 403


def test_what_reviewers_and_leads_write_is_text(client, lead):
    text = '"><img src=x onerror=alert(1)>'
    scorecard = make_scorecard({"kind": "text", "text": text, "help_text": text}, name=text, description=text)
    review = make_review(make_recording(), scorecard=scorecard, answers=[text], queue=make_queue(scorecard, name=text))
    client.force_login(make_staff(is_superuser=True))
    ours = (REVIEWS, f"{REVIEWS}{review.pk}/change/", f"{REVIEWS}summary/", QUEUES)
    for path in (*ours, page(review.call), f"/admin/calls/scorecard/{scorecard.pk}/preview/"):
        assert "<img src=x" not in html(client.get(path))


# --- the queues ------------------------------------------------------------------------------------------------------


def test_the_queues_say_what_waits_is_out_and_is_done(client, reviewer):
    queue = make_queue()
    for _ in range(4):
        make_recording(seconds=1)
    deal(queue, reviewer)
    make_review(Call.objects.first(), queue=queue)
    shown = client.get(QUEUES).context["cl"].result_list[0]
    assert (vars(shown)["are_out"], vars(shown)["are_done"]) == (1, 1)
    assert '<td class="field-waits">2</td>' in html(client.get(QUEUES))


def test_the_list_of_queues_costs_one_query_for_each(client, reviewer, django_assert_num_queries):
    make_queue()
    with django_assert_num_queries(7):
        client.get(QUEUES)
    make_queue()
    with django_assert_num_queries(8):
        client.get(QUEUES)


def fields(queue, **facts):
    return {
        **{"name": queue.name, "scorecard": queue.scorecard_id, "rule": queue.rule, "nth": queue.nth},
        **{"threshold_ms": queue.threshold_ms, "handler": "", "hours": queue.hours, "is_active": "on"},
        **{"since_0": "2026-03-14", "since_1": "15:09:26", "reviewers": ""},
        **{"initial-since_0": "2026-03-14", "initial-since_1": "15:09:26", **facts},
    }


@pytest.fixture
def manager(client):
    client.force_login(make_staff("view_reviewqueue", "add_reviewqueue", "change_reviewqueue", "view_scorecard"))


def test_a_lead_makes_a_queue(client, manager):
    scorecard = make_scorecard()
    made = make_queue(scorecard, name="old")
    client.post(f"{QUEUES}add/", fields(made, name="New", rule="slow", threshold_ms="2500"))
    assert ReviewQueue.objects.get(name="New").rule_in_words == "An answer after more than 2.5 s"


def test_a_queue_with_another_rule_looks_at_all_calls_again(client, manager):
    queue = make_queue(settled_until=START + dt.timedelta(days=9))
    client.post(f"{QUEUES}{queue.pk}/change/", fields(queue))
    assert ReviewQueue.objects.get().settled_until
    client.post(f"{QUEUES}{queue.pk}/change/", fields(queue, nth="2"))
    assert ReviewQueue.objects.get().settled_until is None


def test_a_queue_with_a_scorecard_that_is_not_in_use_is_refused(client, manager):
    queue = make_queue(make_scorecard(is_active=False))
    response = client.post(f"{QUEUES}{queue.pk}/change/", fields(queue))
    assert "This scorecard is not in use" in html(response)


def test_only_handlers_that_there_are_can_be_chosen(client, manager):
    make_call(handler="retired")
    assert "retired" in html(client.get(f"{QUEUES}add/"))
    response = client.post(f"{QUEUES}add/", fields(make_queue(), name="New", handler="typo"))
    assert "Select a valid choice" in html(response)


# --- the list, the summary and the table -----------------------------------------------------------------------------


def listed(client, **query):
    return [review.pk for review in client.get(REVIEWS, query).context["cl"].result_list]


def test_the_list_has_submitted_reviews_newest_first_and_others_when_asked(client, lead):
    old = make_review(submitted_at=START)
    new = make_review(submitted_at=START + dt.timedelta(days=1))
    out = make_review(submitted_at=None)
    make_review(submitted_at=None, returned_at=START, queue=make_queue())
    assert listed(client) == [new.pk, old.pk]
    assert listed(client, state="out") == [out.pk]


def test_the_list_is_filtered(client, lead):
    queue, user = make_queue(), make_staff()
    own = make_review(queue=queue, reviewer=user, answers=[1, False], submitted_at=timezone.now())
    other = make_review(answers=[5, True])
    by = {"queue": queue.pk, "reviewer": user.pk, "scorecard": queue.scorecard_id, "score": "low", "when": "today"}
    for name, value in by.items():
        assert listed(client, **{name: value}) == [own.pk], name
    assert listed(client, queue="none") == [other.pk]


def test_a_filter_on_a_field_of_the_call_is_refused(client, lead):
    assert client.get(REVIEWS, {"call__from_number__startswith": "+1"}).status_code in (302, 400)


def test_the_list_costs_the_same_for_any_number(client, lead, django_assert_num_queries):
    for _ in range(2):
        make_review(answers=[3, True], reviewer=make_staff(), queue=make_queue())
    with django_assert_num_queries(8):
        client.get(REVIEWS)
    for _ in range(6):
        make_review(answers=[3, True], reviewer=make_staff(), queue=make_queue())
    with django_assert_num_queries(8):
        client.get(REVIEWS)


def test_a_calls_page_costs_the_same_for_any_number_of_reviews(client, lead, django_assert_max_num_queries):
    call = make_recording()
    make_review(call, answers=[3, True, "x"])
    with django_assert_max_num_queries(100) as one:
        client.get(page(call))
    for _ in range(5):
        make_review(call, answers=[3, True, "x"], reviewer=make_staff())
    with django_assert_max_num_queries(len(one)):
        client.get(page(call))


def exported(client, query=""):
    response = client.get(f"{REVIEWS}export.csv{query}")
    text = b"".join(response.streaming_content).decode().removeprefix("\ufeff")
    return list(csv.DictReader(io.StringIO(text)))


def test_the_table_has_a_row_for_each_review_and_a_column_for_each_question(client, lead):
    scorecard = make_scorecard({"text": "Polite?"}, {"text": "Solved?", "kind": "yes_no"}, name="Service")
    call = make_recording(handler="sales")
    make_review(call, scorecard=scorecard, reviewer=make_staff(username="grace"), answers=[4, False])
    (row,) = exported(client)
    assert (row["reviewer"], row["scorecard"], row["version"], row["score (%)"]) == ("grace", "Service", "1", "38")
    assert (row["CallSid"], row["handler"]) == (call.sid, "sales")
    assert (row["Service: Polite? (1 to 5)"], row["Service: Solved? (yes or no)"]) == ("4", "no")


def test_a_question_that_stays_the_same_has_one_column_and_another_scale_another(client, lead):
    scorecard = make_scorecard({"text": "Polite?"}, {"text": "Fast?"}, name="S")
    make_review(scorecard=scorecard, answers=[4, 3])
    ask_again(scorecard, {"text": "Polite?"}, {"text": "Fast?", "lowest": 0, "highest": 10})
    make_review(scorecard=scorecard, answers=[5, 9])
    new, old = exported(client)
    assert (new["S: Polite? (1 to 5)"], old["S: Polite? (1 to 5)"]) == ("5", "4")
    assert (new["S: Fast? (0 to 10)"], old["S: Fast? (1 to 5)"], old["S: Fast? (0 to 10)"]) == ("9", "3", "")


def ask_again(scorecard, *questions):
    question = type(scorecard.current().questions.first())
    scorecard.ask([question(**facts) for facts in questions], None)


@pytest.mark.parametrize("text", ["=1+1", " +cmd", "@x", "-2+3", "a\n=1", "＝1"])
def test_no_cell_of_the_table_is_a_formula(client, lead, text):
    scorecard = make_scorecard({"text": text, "kind": "text"}, name=f"{text} ")
    make_review(scorecard=scorecard, answers=[text])
    (row,) = exported(client)
    for cell in [*row.keys(), *row.values()]:
        assert not cell.strip().startswith(("=", "+", "-", "@", "＝")), cell
        assert "\n" not in cell


def test_a_negative_number_stays_a_number(client, lead):
    make_review(scorecard=make_scorecard({"text": "Mood", "lowest": -5}, name="S"), answers=[-3])
    assert exported(client)[0]["S: Mood (-5 to 5)"] == "-3"


def test_the_table_is_filtered_like_the_list_and_has_no_drafts(client, lead):
    queue = make_queue()
    make_review(queue=queue, answers=[1, False])
    make_review(answers=[5, True])
    make_review(submitted_at=None)
    assert len(exported(client)) == 2
    assert len(exported(client, f"?queue={queue.pk}")) == 1
    assert exported(client, "?state=out") == []


def test_who_takes_the_table_is_on_record(client, lead):
    exported(client, "?score=low")
    access = RecordingAccess.objects.get()
    assert (access.user, access.kind, access.detail) == (lead, "export", "CSV of reviews: score=low")


def test_the_table_needs_the_permission_to_export(client):
    client.force_login(make_staff("view_call", "view_review"))
    assert client.get(f"{REVIEWS}export.csv").status_code == 403
    assert not RecordingAccess.objects.exists()


def test_a_reviewers_table_has_their_own_reviews(client):
    user = make_staff(*REVIEWER, "export_call")
    client.force_login(user)
    make_review(reviewer=user)
    make_review(reviewer=make_staff())
    assert len(exported(client)) == 1


def test_more_reviews_than_a_batch_are_all_in_the_table(client, lead, monkeypatch):
    monkeypatch.setattr("calls.admin.exports.BATCH", 2)
    scorecard = make_scorecard()
    for _ in range(5):
        make_review(scorecard=scorecard)
    assert len(exported(client)) == 5


def test_the_summary_has_the_means_by_reviewer_and_by_question(client, lead):
    scorecard = make_scorecard({"text": "Polite?"}, {"text": "Solved?", "kind": "yes_no"})
    grace = make_staff(username="grace")
    for answers in ([5, True], [2, True], [2, False]):
        make_review(scorecard=scorecard, reviewer=grace, answers=answers)
    context = client.get(f"{REVIEWS}summary/").context
    (of_grace,) = context["reviewers"]
    assert (of_grace["name"], of_grace["reviews"], of_grace["average"]) == ("grace", 3, "59 %")
    assert [(row.asked.text, row.answers, row.in_words) for row in context["questions"]] == [
        ("Polite?", 3, "3.0"),
        ("Solved?", 3, "67 % yes"),
    ]


def test_the_summary_is_of_the_filtered_list_and_says_so(client, lead):
    queue = make_queue(name="Tenth")
    make_review(queue=queue, answers=[1, False])
    make_review(answers=[5, True])
    response = client.get(f"{REVIEWS}summary/", {"queue": queue.pk})
    assert "queue: Tenth" in html(response)
    assert [row["average"] for row in response.context["reviewers"]] == ["0 %"]


def test_a_summary_of_nothing_says_so(client, lead):
    assert "No such reviews." in html(client.get(f"{REVIEWS}summary/"))


@pytest.mark.parametrize("path", ["", "summary/", "export.csv"])
def test_a_time_that_is_none_leads_back_to_the_list(client, lead, path):
    assert client.get(f"{REVIEWS}{path}", {"since": "soon"}).status_code == 302
