"""That a review was handed in is told, once."""

import datetime as dt

import pytest
from django.utils import timezone

from calls.models import Notice
from calls.notices import facts, reviews, telling
from calls.notices.telling import tell
from tests.support.factories import make_receiver, make_review, make_staff


pytestmark = pytest.mark.django_db


def told() -> list[str]:
    return list(Notice.objects.filter(kind="review.done").values_list("key", flat=True))


def test_a_review_that_was_handed_in_is_told_once_and_a_draft_is_not():
    make_receiver(kinds=["review.done"])
    make_review(submitted_at=None)
    anna = make_staff(username="anna")
    review = make_review(reviewer=anna, submitted_at=timezone.now(), answers=[5, True, "Anna Smith said +15550100001"])
    for _ in range(3):
        tell()
    assert told() == [str(review.pk)]
    notice = Notice.objects.get()
    assert (notice.call, notice.at) == (review.call, review.submitted_at)
    assert notice.data["review"] == {
        "submitted_at": facts.moment(review.submitted_at),
        "reviewer": "anna",
        "score": review.score,
        "scorecard": review.version.scorecard.name,
        "version": 1,
        "queue": None,
    }
    assert notice.data["call"]["sid"] == review.call.sid
    assert "Smith" not in str(notice.data)


def test_a_review_that_is_committed_late_is_told_all_the_same():
    make_receiver(kinds=["review.done"])
    make_review(submitted_at=timezone.now())
    tell()
    make_review(submitted_at=timezone.now() - dt.timedelta(hours=1))
    tell()
    assert len(told()) == 2


def test_an_old_review_is_not_told_again_when_its_notice_is_forgotten():
    make_receiver(kinds=["review.done"])
    make_review(submitted_at=timezone.now() - reviews.WINDOW - dt.timedelta(minutes=1))
    tell()
    assert told() == []


def test_a_review_from_before_the_receiver_is_not_told_to_it():
    make_receiver(kinds=["review.done"], since=timezone.now())
    make_review(submitted_at=timezone.now() - dt.timedelta(minutes=1))
    tell()
    assert told() == []


def test_reviews_from_before_the_one_who_wants_them_hold_up_no_later_ones(monkeypatch):
    monkeypatch.setattr(telling, "BATCH", 2)
    make_receiver(kinds=["call.ended"])
    make_receiver(kinds=["review.done"], since=timezone.now() - dt.timedelta(minutes=1))
    for _ in range(2):
        make_review(submitted_at=timezone.now() - dt.timedelta(hours=1))
    review = make_review(submitted_at=timezone.now())
    tell()
    assert told() == [str(review.pk)]


def test_many_reviews_are_told_in_a_fixed_number_of_queries(django_assert_max_num_queries):
    make_receiver(kinds=["review.done"])
    for _ in range(telling.BATCH // 10):
        make_review(submitted_at=timezone.now())
    with django_assert_max_num_queries(14):
        reviews.untold(timezone.now() - dt.timedelta(days=1), 100)
