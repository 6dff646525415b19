"""The questions of a scorecard as a form: for the reviewer, and to show what they were and how they were answered."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django import forms
from django.http import HttpRequest

from calls.access.numbers import mask_all, may_see
from calls.admin.cells import time_tag
from calls.media.storable import storable
from calls.models import Answer, Call, Question, Review


# Characters of an answer in words.
MOST = 10_000


class ReviewForm(forms.Form):
    """Each question as a field. What is chosen that is no choice, and only a forged request does that, is left out."""

    def __init__(self, questions: Iterable[Question], data: Any = None, *, answers: Iterable[Answer] = ()) -> None:
        super().__init__(data, initial={_name(answer.question): _chosen(answer.value) for answer in answers})
        self.questions = list(questions)
        for question in self.questions:
            self.fields[_name(question)] = _field(question)

    def given(self) -> dict[Question, int | bool | str | None]:
        """What was sent, whether or not it is all."""
        return {question: _value(question, self[_name(question)].data) for question in self.questions}

    def rows(self, missing: Iterable[Question] = ()) -> list[dict[str, Any]]:
        """For the template: each with its field, and what is wrong with it."""
        absent = set(missing)
        return [
            {"question": question, "field": self[_name(question)], "is_missing": question in absent}
            for question in self.questions
        ]


@dataclass(frozen=True)
class Shown:
    """A submitted review as somebody may see it."""

    review: Review
    when: Any
    answers: list[tuple[Question, str]]

    @classmethod
    def of(cls, review: Review, request: HttpRequest, call: Call) -> "Shown":
        """`review` with its answers and their questions, which this asks for nothing else."""
        known = [(answer.question, in_words(answer, call, whole=may_see(request))) for answer in _in_order(review)]
        return cls(review, time_tag(review.submitted_at), known)


def in_words(answer: Answer, call: Call, *, whole: bool) -> str:
    """An answer as it is read; numbers that reviewers have written down are masked like anywhere else."""
    match answer.question.kind:
        case Question.Kind.SCALE:
            return f"{answer.number} of {answer.question.highest}"
        case Question.Kind.YES_NO:
            return "yes" if answer.yes else "no"
    return answer.text if whole else str(mask_all(answer.text, call))


def missing(review: Review) -> list[Question]:
    """The questions that must be answered and are not, as far as it is stored."""
    answered = set(review.answers.values_list("question", flat=True))
    return [question for question in review.version.questions.filter(required=True) if question.pk not in answered]


def _in_order(review: Review) -> list[Answer]:
    return sorted(review.answers.all(), key=lambda answer: answer.question.position)


def _name(question: Question) -> str:
    return f"q{question.position}"


def _chosen(value: int | bool | str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _field(question: Question) -> forms.Field:
    facts: dict[str, Any] = {"label": question.text, "required": False, "help_text": question.help_text}
    if question.kind == Question.Kind.TEXT:
        return forms.CharField(widget=forms.Textarea(attrs={"rows": 3, "maxlength": MOST}), **facts)
    choices = [("yes", "Yes"), ("no", "No")]
    if question.kind == Question.Kind.SCALE:
        choices = [(str(step), str(step)) for step in range(question.lowest, question.highest + 1)]
    if not question.required:
        choices.append(("", "No answer"))
    attrs = {"required": False}
    return forms.ChoiceField(widget=forms.RadioSelect(attrs=attrs), choices=choices, **facts)


def _value(question: Question, sent: Any) -> int | bool | str | None:
    text = str(sent or "")
    match question.kind:
        case Question.Kind.TEXT:
            return storable(text.replace("\r\n", "\n").strip(), MOST)
        case Question.Kind.YES_NO:
            return {"yes": True, "no": False}.get(text)
    steps = {str(step): step for step in range(question.lowest, question.highest + 1)}
    return steps.get(text)
