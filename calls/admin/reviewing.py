"""Reviewing on a call's page: the questions beside the recording, and what others have answered."""

from typing import Any

from django.contrib import messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_POST

from calls.admin.base import CallMixin, keep_filters, staff
from calls.admin.cells import time_tag
from calls.admin.review_form import ReviewForm, Shown, missing
from calls.models import Call, Question, Review, ReviewQueue, Scorecard
from calls.reviews.answering import Missing, Taken, keep, submit
from calls.reviews.dealing import begin, deal, give_back


# Of one call; more reviews are in their own list.
MOST_SHOWN = 20
GONE = "There is no such review any more: its call was erased, or it was given back."


def may_review(request: HttpRequest) -> bool:
    """Nobody judges what they may not hear."""
    needed = ("calls.view_call", "calls.listen_call", "calls.review_call")
    return all(request.user.has_perm(permission) for permission in needed)


def deal_response(request: HttpRequest, queue: ReviewQueue) -> HttpResponseRedirect:
    """To the next call of a queue; if there is none, to the queues."""
    if not (may_review(request) and queue.is_for(staff(request))):
        raise PermissionDenied
    if review := deal(queue, staff(request)):
        return HttpResponseRedirect(review_url(review))
    why = "No call waits" if queue.deals else "Nothing is dealt out any more"
    messages.info(request, f"{why} in “{queue}”.")
    return HttpResponseRedirect(reverse("admin:calls_reviewqueue_changelist"))


def review_url(review: Review, query: str = "") -> str:
    return f"{reverse('admin:calls_call_change', args=[review.call_id])}?review={review.pk}{query}"


class Reviewing(CallMixin):
    """Adds this to the admin of calls."""

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        own = [
            path("<int:pk>/review/", wrap(self.begin_review), name="calls_call_review"),
            path("<int:pk>/review/<int:review>/", wrap(self.answer_review), name="calls_call_answer"),
        ]
        return [*own, *super().get_urls()]

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if call := kwargs.get("obj"):
            context |= panel(request, call)
            if review := context.get("review"):
                url = reverse("admin:calls_call_answer", args=[call.pk, review.pk])
                context["review_url"] = keep_filters(self, request, url)
            context["begin_url"] = keep_filters(self, request, reverse("admin:calls_call_review", args=[call.pk]))
        return super().render_change_form(request, context, *args, **kwargs)

    @method_decorator(require_POST)
    def begin_review(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        """A review that no queue has asked for."""
        if not may_review(request):
            raise PermissionDenied
        call = get_object_or_404(Call.objects.ended().filter(audio_samples__gt=0), pk=pk)
        chosen = request.POST.get("scorecard", "")
        usable = Scorecard.objects.usable()
        scorecard = usable.filter(pk=int(chosen)).first() if chosen.isascii() and chosen.isdigit() else None
        if scorecard is None:
            self.message_user(request, "Choose one of the scorecards that are in use.", messages.WARNING)
            return HttpResponseRedirect(keep_filters(self, request, reverse("admin:calls_call_change", args=[pk])))
        return HttpResponseRedirect(keep_filters(self, request, review_url(begin(call, scorecard, staff(request)))))

    @method_decorator(require_POST)
    def answer_review(self, request: HttpRequest, pk: int, review: int) -> HttpResponseBase:
        """Whatever was typed is stored first, as a draft; then comes what the button says."""
        if not may_review(request):
            raise PermissionDenied
        draft = _own(request).filter(pk=review, call=pk).first()
        if draft is None:
            return self._gone(request)
        is_draft = keep(draft, ReviewForm(draft.version.questions.all(), request.POST).given())
        if "_autosave" in request.POST:
            return JsonResponse({"saved": f"{timezone.localtime():%H:%M:%S}"}, status=200 if is_draft else 409)
        if not is_draft:
            self.message_user(request, "You have submitted this review already.", messages.WARNING)
            return self._on(request, draft)
        if "_return" in request.POST:
            return self._give_back(request, draft)
        if "_draft" in request.POST:
            self.message_user(request, "Kept as a draft: nobody else sees it before you submit it.", messages.SUCCESS)
            return HttpResponseRedirect(keep_filters(self, request, review_url(draft)))
        return self._submit(request, draft)

    def _submit(self, request: HttpRequest, draft: Review) -> HttpResponseBase:
        try:
            submit(draft, apart="_apart" in request.POST)
        except Missing:
            return HttpResponseRedirect(keep_filters(self, request, review_url(draft, "&missing=1")))
        except Taken as taken:
            who, did = taken.reviewer or "somebody", "has reviewed it" if taken.is_done else "has it now"
            text = (
                f"This took longer than the queue waits, so the call went back, and {who} {did}. Your answers are kept."
            )
            self.message_user(request, text, messages.WARNING)
            return HttpResponseRedirect(keep_filters(self, request, review_url(draft)))
        score = "" if draft.score is None else f": {draft.score} %"
        changed = f"Reviewed with “{draft.version}”{score}"
        LogEntry.objects.log_actions(
            staff(request).pk, [draft.call], CHANGE, change_message=changed, single_object=True
        )
        self.message_user(request, f"Submitted{score}.", messages.SUCCESS)
        return self._on(request, draft)

    def _give_back(self, request: HttpRequest, draft: Review) -> HttpResponseBase:
        done = give_back(draft)
        if draft.queue is None:
            self.message_user(request, "The draft was dropped.")
            url = reverse("admin:calls_call_change", args=[draft.call_id])
            return HttpResponseRedirect(keep_filters(self, request, url))
        if done:
            self.message_user(request, "Given back: somebody else will be dealt this call.")
        return HttpResponseRedirect(reverse("admin:calls_reviewqueue_changelist"))

    def _on(self, request: HttpRequest, draft: Review) -> HttpResponseBase:
        """To the next call, or to what comes after the last one."""
        if draft.queue is None:
            url = reverse("admin:calls_call_change", args=[draft.call_id])
            return HttpResponseRedirect(keep_filters(self, request, url))
        if "_next" in request.POST:
            return deal_response(request, draft.queue)
        return HttpResponseRedirect(reverse("admin:calls_reviewqueue_changelist"))

    def _gone(self, request: HttpRequest) -> HttpResponseBase:
        if "_autosave" in request.POST:
            return JsonResponse({}, status=410)
        self.message_user(request, GONE, messages.WARNING)
        return HttpResponseRedirect(reverse("admin:calls_reviewqueue_changelist"))


def panel(request: HttpRequest, call: Call) -> dict[str, Any]:
    """What a call's page shows of reviews: the one to be written, those written, and the way to begin one."""
    everybodys = request.user.has_perm("calls.view_review")
    seen = Q() if everybodys else Q(reviewer=staff(request))
    reviews = call.reviews.filter(seen).select_related("version__scorecard", "reviewer", "queue")
    done = reviews.filter(submitted_at__isnull=False).prefetch_related("answers__question")[:MOST_SHOWN]
    context: dict[str, Any] = {"reviews": [Shown.of(review, request, call) for review in done]}
    if everybodys:
        out = reviews.filter(submitted_at=None, returned_at=None).exclude(reviewer=staff(request))
        context["reviews_out"] = [(review, time_tag(review.dealt_at, inside=True)) for review in out[:MOST_SHOWN]]
    if not may_review(request):
        return context
    if review := _asked(request, call):
        return context | _form(request, review)
    if call.ended_at and call.audio_samples:
        context["scorecards"] = list(Scorecard.objects.usable())
    return context


def _form(request: HttpRequest, review: Review) -> dict[str, Any]:
    absent: list[Question] = missing(review) if "missing" in request.GET else []
    answers = review.answers.select_related("question")
    form = ReviewForm(review.version.questions.all(), answers=answers)
    others = Review.objects.holding().filter(queue=review.queue_id, call=review.call_id).exclude(pk=review.pk)
    taken = review.returned_at is not None and others.exists()
    due = None if review.returned_at else review.expires_at
    return {
        "review": review,
        "review_rows": form.rows(absent),
        "review_missing": absent,
        "review_taken": taken,
        "review_due": time_tag(due, inside=True) if due else None,
    }


def _own(request: HttpRequest) -> QuerySet[Review]:
    return Review.objects.filter(reviewer=staff(request)).select_related(
        "version__scorecard", "queue__scorecard", "call", "reviewer"
    )


def _asked(request: HttpRequest, call: Call) -> Review | None:
    """The draft that the address names, even if its call has gone back meanwhile; else one that is out to them."""
    drafts = _own(request).filter(call=call, submitted_at=None)
    named = request.GET.get("review", "")
    if named.isascii() and named.isdigit() and len(named) < 19 and (review := drafts.filter(pk=int(named)).first()):
        return review
    return drafts.filter(returned_at=None).order_by("dealt_at").first()
