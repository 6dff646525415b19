"""Scorecards: a version that was used stays as it was, whatever becomes of the questions; and what a score is."""

import pytest
from django.db import IntegrityError, transaction

from calls.models import Answer, Question, Scorecard
from tests.support.factories import make_review, make_scorecard, make_staff


pytestmark = pytest.mark.django_db
LIST = "/admin/calls/scorecard/"


@pytest.fixture
def lead(client):
    user = make_staff("view_scorecard", "add_scorecard", "change_scorecard", "delete_scorecard")
    client.force_login(user)
    return user


def row(number, **facts):
    """A question's fields as the page sends them."""
    fields = {
        **{"text": "", "help_text": "", "kind": "scale", "lowest": "1", "highest": "5", "counts": "more"},
        **{"position": "", "id": "", "required": "on", **facts},
    }
    return {f"questions-{number}-{name}": value for name, value in fields.items() if value is not None}


def posted(*rows, initial=0, **facts):
    sent = {"name": "Service", "description": "", "is_active": "on", "questions-TOTAL_FORMS": str(len(rows)), **facts}
    sent |= {"questions-INITIAL_FORMS": str(initial), "questions-MIN_NUM_FORMS": "1", "questions-MAX_NUM_FORMS": "1000"}
    for number, facts in enumerate(rows):
        sent |= row(number, **facts)
    return sent


def stored(question, **facts):
    """A question that is there already, as the page sends it."""
    names = ("text", "help_text", "kind", "lowest", "highest", "counts", "position")
    known = {name: str(getattr(question, name)) for name in names}
    return {**known, "id": str(question.pk), "required": "on" if question.required else None, **facts}


def save(client, scorecard, *rows, **facts):
    initial = sum(bool(facts.get("id")) for facts in rows)
    return client.post(f"{LIST}{scorecard.pk}/change/", posted(*rows, initial=initial, **facts))


def asked(version):
    return list(version.questions.values_list("text", flat=True))


def shares(kind, answers, **facts):
    question = Question(kind=kind, **facts)
    return [question.share(answer) for answer in answers]


def test_a_lead_defines_a_scorecard_with_its_questions(client, lead):
    response = client.post(f"{LIST}add/", posted({"text": "Polite?"}, {"text": "Solved?", "kind": "yes_no"}))
    assert response.status_code == 302
    version = Scorecard.objects.get(name="Service").current()
    assert (version.number, version.made_by, asked(version)) == (1, lead, ["Polite?", "Solved?"])


def test_a_scorecard_without_a_question_is_refused(client, lead):
    response = client.post(f"{LIST}add/", posted())
    assert "Please submit at least 1 form" in response.content.decode()
    assert not Scorecard.objects.exists()


def test_a_scale_that_goes_down_is_refused(client, lead):
    response = client.post(f"{LIST}add/", posted({"text": "Polite?", "lowest": "5", "highest": "1"}))
    assert "A scale goes up" in response.content.decode()


def test_a_scale_of_too_many_steps_is_refused(client, lead):
    response = client.post(f"{LIST}add/", posted({"text": "Polite?", "lowest": "0", "highest": "100"}))
    assert "A scale goes up" in response.content.decode()


def test_questions_of_a_version_that_nobody_has_used_are_changed_in_place(client, lead):
    scorecard = make_scorecard({"text": "Polit?"})
    save(client, scorecard, stored(Question.objects.get(), text="Polite?"))
    assert scorecard.versions.count() == 1
    assert asked(scorecard.current()) == ["Polite?"]


def test_questions_of_a_version_that_was_used_are_changed_in_a_new_one(client, lead):
    scorecard = make_scorecard({"text": "Polite?"})
    review = make_review(scorecard=scorecard, answers=[4])
    save(client, scorecard, stored(Question.objects.get(), text="Very polite?", highest="10"))
    assert (scorecard.current().number, asked(scorecard.current())) == (2, ["Very polite?"])
    assert (asked(review.version), review.answers.get().question.highest) == (["Polite?"], 5)


def test_a_draft_too_makes_the_next_change_a_new_version(client, lead):
    scorecard = make_scorecard({"text": "Polite?"})
    review = make_review(scorecard=scorecard, submitted_at=None)
    save(client, scorecard, stored(Question.objects.get(), text="Kind?"))
    assert asked(review.version) == ["Polite?"]
    assert scorecard.current().number == 2


def test_saving_without_a_change_makes_no_version(client, lead):
    scorecard = make_scorecard({"text": "Polite?"})
    make_review(scorecard=scorecard, answers=[4])
    save(client, scorecard, stored(Question.objects.get()), name="Other")
    scorecard.refresh_from_db()
    assert (scorecard.name, scorecard.versions.count()) == ("Other", 1)


def test_a_question_that_was_answered_can_be_taken_out_of_the_next_version(client, lead):
    scorecard = make_scorecard({"text": "Polite?"}, {"text": "Fast?"})
    review = make_review(scorecard=scorecard, answers=[4, 2])
    first, second = review.version.questions.all()
    save(client, scorecard, stored(first, DELETE="on"), stored(second))
    assert asked(scorecard.current()) == ["Fast?"]
    assert review.answers.count() == 2


def test_two_questions_swap_their_places(client, lead):
    scorecard = make_scorecard({"text": "Polite?"}, {"text": "Fast?"})
    first, second = scorecard.current().questions.all()
    response = save(client, scorecard, stored(first, position="2"), stored(second, position="1"))
    assert response.status_code == 302
    assert asked(scorecard.current()) == ["Fast?", "Polite?"]


def test_a_question_without_a_place_comes_last(client, lead):
    scorecard = make_scorecard({"text": "Polite?"})
    save(client, scorecard, stored(Question.objects.get()), {"text": "Fast?"})
    assert asked(scorecard.current()) == ["Polite?", "Fast?"]


def test_the_preview_shows_the_questions_of_any_version(client, lead):
    scorecard = make_scorecard({"text": "Polite?"})
    make_review(scorecard=scorecard)
    save(client, scorecard, stored(Question.objects.get(), text="Kind?"))
    assert "Kind?" in client.get(f"{LIST}{scorecard.pk}/preview/").content.decode()
    assert "Polite?" in client.get(f"{LIST}{scorecard.pk}/preview/?version=1").content.decode()


@pytest.mark.parametrize("version", ["9", "-1", "x", "²", "9" * 30])
def test_the_preview_of_a_version_that_is_none_has_no_questions_or_the_latest(client, lead, version):
    scorecard = make_scorecard()
    assert client.get(f"{LIST}{scorecard.pk}/preview/", {"version": version}).status_code == 200


def test_a_scorecard_that_was_used_cannot_be_deleted(client, lead):
    scorecard = make_scorecard()
    make_review(scorecard=scorecard)
    client.post(f"{LIST}{scorecard.pk}/delete/", {"post": "yes"})
    assert Scorecard.objects.exists()


def test_a_scorecard_that_was_never_used_can_be_deleted(client, lead):
    client.post(f"{LIST}{make_scorecard().pk}/delete/", {"post": "yes"})
    assert not Scorecard.objects.exists()


def test_the_list_costs_the_same_for_any_number(client, lead, django_assert_num_queries):
    for _ in range(2):
        make_scorecard()
    with django_assert_num_queries(5):
        client.get(LIST)
    for _ in range(8):
        make_scorecard()
    with django_assert_num_queries(5):
        client.get(LIST)


def test_who_may_only_look_changes_nothing(client):
    client.force_login(make_staff("view_scorecard"))
    scorecard = make_scorecard({"text": "Polite?"})
    assert client.get(f"{LIST}{scorecard.pk}/change/").status_code == 200
    assert save(client, scorecard, stored(Question.objects.get(), text="Kind?")).status_code == 403
    assert asked(scorecard.current()) == ["Polite?"]


def test_a_scale_goes_from_its_worst_to_its_best():
    assert shares("scale", [1, 3, 5]) == [0, 0.5, 1]
    assert shares("scale", [-5, 5], lowest=-5, highest=5) == [0, 1]


def test_less_is_better_where_the_question_says_so():
    assert shares("scale", [1, 5], counts="less") == [1, 0]
    assert shares("yes_no", [True, False], counts="less") == [0, 1]


def test_text_and_what_is_not_to_count_do_not_count():
    assert shares("text", ["fine"]) == [None]
    assert shares("yes_no", [True], counts="not") == [None]


def test_a_score_is_the_mean_of_what_was_answered_and_counts():
    scorecard = make_scorecard({}, {"kind": "yes_no"}, {"kind": "text"}, {"kind": "yes_no", "required": False})
    assert make_review(scorecard=scorecard, answers=[4, True, "well"]).score == 88


def test_without_an_answer_that_counts_there_is_no_score():
    assert make_review(scorecard=make_scorecard({"kind": "text"}), answers=["well"]).score is None


@pytest.mark.parametrize(
    "facts",
    [{"kind": "stars"}, {"counts": "all"}, {"lowest": 5, "highest": 1}, {"lowest": 0, "highest": 11}],
)
def test_the_database_refuses_a_question_that_is_none(facts):
    with pytest.raises(IntegrityError), transaction.atomic():
        Question.objects.create(version=make_scorecard().current(), position=9, text="Polite?", **facts)


@pytest.mark.parametrize("facts", [{}, {"number": 1, "yes": True}, {"yes": True, "text": "yes"}])
def test_the_database_refuses_an_answer_that_is_none_or_two(facts):
    review = make_review()
    with pytest.raises(IntegrityError), transaction.atomic():
        Answer.objects.create(review=review, question=review.version.questions.first(), **facts)
