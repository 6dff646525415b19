"""Scorecards and reviews in a real browser: made by a lead, answered with the keyboard, kept as they are typed."""

import pytest
from django.contrib.auth.models import Group

from calls.models import Review, Scorecard
from calls.reviews.dealing import deal
from tests.support.browser import MARKS, at, page_of, violations, wait_for_waveform, wait_until
from tests.support.factories import make_queue, make_recording, make_review, make_scorecard, make_staff


pytestmark = MARKS
QUEUES = "/admin/calls/reviewqueue/"


@pytest.fixture
def reviewer():
    user = make_staff(username="grace")
    user.groups.add(Group.objects.get(name="Ops reviewer"))
    return user


@pytest.fixture
def lead():
    return make_staff(is_superuser=True, username="ada")


def dealt(user, calls=1):
    for _ in range(calls):
        make_recording(seconds=20)
    return deal(make_queue(), user)


def focused(page):
    return page.evaluate("document.activeElement.id")


def saved(page):
    wait_until(page, "document.getElementById('review-state').textContent.startsWith('Draft saved')")


def test_a_lead_defines_a_scorecard(visit, lead):
    page = visit("/admin/calls/scorecard/add/", lead)
    page.fill("#id_name", "Service")
    page.fill("#id_questions-0-text", "Polite?")
    page.fill("#id_questions-1-text", "Solved?")
    page.select_option("#id_questions-1-kind", "yes_no")
    assert not page.is_visible("#id_questions-1-lowest"), "a scale's numbers are of a scale"
    page.click("text=Add another Question")
    page.fill("#id_questions-3-text", "What else?")
    page.select_option("#id_questions-3-kind", "text")
    assert page.is_visible("#id_questions-3-position")
    page.click("text=Save and continue editing")
    page.click("text=Preview")
    assert page.locator(".review-question").count() == 3
    questions = Scorecard.objects.get().current().questions
    assert list(questions.values_list("text", "kind")) == [
        ("Polite?", "scale"),
        ("Solved?", "yes_no"),
        ("What else?", "text"),
    ]


def test_a_reviewer_answers_with_the_keyboard_and_goes_on_to_the_next_call(visit, reviewer):
    queue = make_queue(name="Tenth")
    first, second = make_recording(seconds=20), make_recording(seconds=20)
    page = visit(QUEUES, reviewer)
    page.get_by_role("button", name="Review the next call of Tenth").press("Enter")
    page.wait_for_selector("#review-form")
    wait_for_waveform(page)
    page.focus("#id_q1_0")
    page.keyboard.press("Space")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.type("1 2 spn <+ is no command")
    assert (at(page), page.evaluate("document.querySelector('audio').paused")) == (0, True)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{page_of(second)}?review=*")
    review = Review.objects.done().get()
    assert (review.call, review.queue, review.score) == (first, queue, 88)
    assert [answer.value for answer in review.answers.all()] == [4, True, "1 2 spn <+ is no command"]


def test_the_player_still_listens_to_its_keys_beside_the_form(visit, reviewer):
    page = visit(page_of(dealt(reviewer).call), reviewer)
    wait_for_waveform(page)
    page.keyboard.press("ArrowRight")
    assert at(page) == 5


def test_what_is_typed_is_there_after_the_page_was_closed(visit, reviewer):
    review = dealt(reviewer)
    page = visit(page_of(review.call), reviewer)
    page.check("#id_q2_1")
    page.fill("textarea[name=q3]", "Half a thought")
    saved(page)
    page = visit(page_of(review.call), reviewer)
    assert page.input_value("textarea[name=q3]") == "Half a thought"
    assert page.is_checked("#id_q2_1")


def test_whoever_is_logged_out_is_told_before_they_lose_anything(visit, reviewer):
    review = dealt(reviewer)
    page = visit(page_of(review.call), reviewer)
    page.context.clear_cookies(name="sessionid")
    page.fill("textarea[name=q3]", "Half a thought")
    wait_until(page, "document.getElementById('review-state').textContent.includes('logged out')")
    assert page.input_value("textarea[name=q3]") == "Half a thought"
    page.fill("textarea[name=q3]", "")


def test_what_is_missing_is_named_and_one_key_away(visit, reviewer):
    review = dealt(reviewer)
    page = visit(page_of(review.call), reviewer)
    page.fill("textarea[name=q3]", "Kept")
    page.click("text=Submit and next")
    page.wait_for_selector("#review-errors")
    assert focused(page) == "review-errors"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert focused(page) == "id_q1_0"
    assert page.input_value("textarea[name=q3]") == "Kept"
    assert "Not saved" not in page.inner_text("#content"), "the notes' form has nothing to do with it"


def test_a_queue_shows_only_what_its_rule_asks_for(visit, lead):
    page = visit(f"{QUEUES}{make_queue().pk}/change/", lead)
    assert (page.is_visible("#id_nth"), page.is_visible("#id_threshold_ms")) == (True, False)
    page.select_option("#id_rule", "slow")
    assert (page.is_visible("#id_nth"), page.is_visible("#id_threshold_ms")) == (False, True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_of_reviews_is_accessible(visit, lead, scheme):
    """axe-core looks at each page in two widths: 10 s."""
    scorecard = make_scorecard(
        {"text": "Polite?", "help_text": "1: no", "required": False}, {"kind": "yes_no"}, {"kind": "text"}, name="S"
    )
    make_scorecard(name="T")
    review = make_review(make_recording(), scorecard=scorecard, reviewer=lead, answers=[3, True, "Fine."])
    queue = make_queue(scorecard, name="Tenth")
    make_recording()
    out = deal(queue, make_staff(username="linus"))
    own = deal(queue, lead)
    paths = [
        *("/admin/calls/scorecard/", "/admin/calls/scorecard/add/", QUEUES, f"{QUEUES}{queue.pk}/change/"),
        f"/admin/calls/scorecard/{scorecard.pk}/change/",
        f"/admin/calls/scorecard/{scorecard.pk}/preview/",
        *("/admin/calls/review/", "/admin/calls/review/?score=low", "/admin/calls/review/summary/"),
        *(f"/admin/calls/review/{review.pk}/change/", f"{page_of(own.call)}?review={own.pk}&missing=1"),
        *(page_of(review.call), page_of(out.call)),
    ]
    page, found = visit("/admin/", lead, scheme=scheme), []
    for path in paths:
        page.goto(path)
        for width in (360, 1280):
            page.set_viewport_size({"width": width, "height": 900})
            found += [(path, width, broken) for broken in violations(page)]
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} at {width}"
    assert found == []
