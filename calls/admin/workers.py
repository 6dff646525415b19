"""The page of the person on call: how the workers are, what failed lately, and which calls ended badly, and why."""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import PermissionDenied
from django.db.models import Prefetch, Q
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.formats import date_format
from django.views.decorators.http import require_http_methods, require_safe

from calls.access import numbers
from calls.admin import why, wording
from calls.admin.base import FactsAdmin, private_json, staff
from calls.admin.cells import moment, time_tag
from calls.admin.meanings import Meaning, is_routine, meaning
from calls.models import Call, CallEvent, Worker
from calls.server.draining import NoneLeft, NotThere, drain, take_again


# How far back "lately" goes, and how many of each are shown.
LATELY = dt.timedelta(hours=24)
MOST_WORKERS, MOST_PROBLEMS, MOST_CALLS = 100, 40, 20
# Calls that are looked at for those that ended badly.
LOOKED_AT = 60
# Seconds for which rows may wait before somebody wants to know.
LONG_LAG = 2.0
# A worker that died longer ago is no news.
NEWS = dt.timedelta(hours=1)


@dataclass(frozen=True)
class Row:
    """A worker, as the page shows it."""

    worker: Worker
    state: str
    tone: str
    note: str
    seen: Any
    is_odd_version: bool
    lag: str
    waiting: str
    url: str


@dataclass(frozen=True)
class Line:
    """Something that failed."""

    at: Any
    worker: Worker
    level: str
    event: str
    text: str
    times: int
    call: Call | None
    meaning: Meaning | None


@dataclass(frozen=True)
class Bad:
    """A call that ended as nobody wanted it to."""

    call: Call
    who: str
    at: Any
    why: why.Ending


@admin.register(Worker)
class WorkerAdmin(FactsAdmin[Worker]):
    fields = (
        *("owner", "host", "pid", "version", "started_at", "seen_at", "ended_at", "streams", "capacity", "lag"),
        *("queue_bytes", "spool_bytes", "dropped_bytes", "draining", "reasons", "does_chores"),
        *("drain_asked_at", "drain_asked_by", "drain_seconds"),
    )

    def has_drain_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("calls.drain_worker") and self.has_view_permission(request)

    def get_urls(self) -> list[URLPattern]:
        own = [
            path("now.json", partial(self.admin_site.admin_view, cacheable=True)(self.now), name="calls_worker_now"),
            path("<int:pk>/drain/", self.admin_site.admin_view(self.drain), name="calls_worker_drain"),
        ]
        return [*own, *super().get_urls()]

    @method_decorator(require_safe)
    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        frame = {**self.admin_site.each_context(request), "opts": self.opts, "title": "On call", "subtitle": None}
        context = {**frame, "html": self._html(request), **(extra_context or {})}
        return TemplateResponse(request, "admin/calls/worker/change_list.html", context)

    @method_decorator(require_safe)
    def now(self, request: HttpRequest) -> HttpResponseBase:
        """What the page asks for every few seconds."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return private_json({"html": self._html(request)})

    def _html(self, request: HttpRequest) -> str:
        may_drain = self.has_drain_permission(request)
        return render_to_string("admin/calls/worker/now.html", {**page(request), "may_drain": may_drain}, request)

    @method_decorator(require_http_methods(["GET", "HEAD", "POST"]))
    def drain(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        """Asks for confirmation, and has the worker drain; or take calls again, if it drains."""
        if not self.has_drain_permission(request):
            raise PermissionDenied
        worker = Worker.objects.with_silence().filter(pk=pk).first()
        if worker is None:
            raise Http404
        back = reverse("admin:calls_worker_changelist")
        if request.method == "POST":
            self._order(request, worker)
            return HttpResponseRedirect(back)
        others = Worker.objects.taking_calls().exclude(pk=pk).count()
        title = f"{'Take calls again' if worker.is_to_drain else 'Drain'}: {worker}"
        frame = {**self.admin_site.each_context(request), "opts": self.opts, "title": title, "subtitle": None}
        context = {**frame, "worker": worker, "others": others, "back_url": back}
        return TemplateResponse(request, "admin/calls/worker/drain.html", context)

    def _order(self, request: HttpRequest, worker: Worker) -> None:
        is_back = request.POST.get("what") == "back"
        user = staff(request)
        try:
            if is_back:
                take_again([worker.pk])
            else:
                hand_on = 0.0 if request.POST.get("calls") == "hand-on" else None
                drain([worker.pk], by=user.get_username(), seconds=hand_on)
        except NoneLeft as error:
            self.message_user(request, f"{error} Nothing was done.", messages.ERROR)
            return
        except NotThere as error:
            self.message_user(request, str(error), messages.ERROR)
            return
        done = "Asked to take calls again" if is_back else "Asked to take no new calls"
        if not is_back and hand_on is not None:
            done += ", and to hand on those that it has"
        LogEntry.objects.log_actions(user.pk, [worker], CHANGE, done, single_object=True)
        self.message_user(request, f"{done}: {worker}.", messages.SUCCESS)


def page(request: HttpRequest) -> dict[str, Any]:
    """All that it shows, in a fixed number of queries."""
    now, whole = timezone.now(), numbers.may_see(request)
    found = Worker.objects.with_silence().filter(seen_at__gt=now - LATELY).order_by("-seen_at")
    workers = list(found[:MOST_WORKERS])
    alive = sorted((worker for worker in workers if not worker.is_gone), key=lambda worker: (worker.host, worker.pid))
    died = [worker for worker in workers if worker.is_gone and worker.ended_at is None]
    usual = Counter(worker.version for worker in alive).most_common(1)
    may_see = request.user.has_perm("calls.view_call")
    bad = bad_calls(now, whole=whole) if may_see else []
    return {
        "verdict": verdict(alive, died, bad, now),
        "workers": [row(worker, usual[0][0] if usual else "", now) for worker in alive],
        "gone": [row(worker, "", now) for worker in workers if worker.is_gone],
        "streams": sum(worker.streams for worker in alive),
        "room": sum(max(0, worker.capacity - worker.streams) for worker in alive if not worker.is_to_drain),
        "problems": lines(workers, now, may_see),
        "may_see_calls": may_see,
        "bad": bad,
        "at": time_tag(now),
    }


def verdict(
    alive: Sequence[Worker], died: Sequence[Worker], bad: Sequence[Bad], now: dt.datetime
) -> tuple[str, list[str]]:
    """How bad it is, and in sentences what; the first is the worst."""
    able = [worker for worker in alive if not worker.is_to_drain and not worker.reasons]
    lately = [worker for worker in died if worker.seen_at > now - NEWS]
    recent = [one for one in bad if one.call.ended_at and one.call.ended_at > now - NEWS]
    worse, warnings = [], []
    if not alive:
        worse.append("No worker runs: nobody answers calls.")
    elif not able:
        worse.append("No worker takes new calls.")
    if dropping := [worker for worker in alive if worker.dropped_bytes]:
        worse.append(f"Audio is being lost on {_names(dropping)}: there is no room left to keep it.")
    if slow := [worker for worker in alive if worker.lag >= LONG_LAG or worker.spool_bytes]:
        warnings.append(f"Recording lags on {_names(slow)}: the database is slow, or was away.")
    if full := [worker for worker in alive if "full" in worker.reasons]:
        warnings.append(f"{_names(full)} {'is' if len(full) == 1 else 'are'} full.")
    if lately:
        last = max(worker.seen_at for worker in lately)
        many = f"A worker has died: {lately[0]}" if len(lately) == 1 else f"{len(lately)} workers have died"
        warnings.append(f"{many}, last heard of {moment(last, inside=True)}.")
    if recent:
        many = "A call" if len(recent) == 1 else f"{len(recent)} calls"
        warnings.append(f"{many} ended badly within the last hour.")
    if settings.CHORES and alive and not any(worker.does_chores for worker in alive):
        warnings.append("None of these workers does the chores: unless another process does, no call is measured.")
    if worse:
        return "bad", [*worse, *warnings]
    running = sum(worker.streams for worker in alive)
    well = f"{_count(len(alive), 'worker')}, {_count(running, 'call')} running, recording keeps up"
    return ("warn", warnings) if warnings else ("good", [f"All is well: {well}."])


def row(worker: Worker, usual: str, now: dt.datetime) -> Row:
    state, tone, note = _state(worker)
    waiting = worker.queue_bytes + worker.spool_bytes
    return Row(
        worker=worker,
        state=state,
        tone=tone,
        note=note,
        seen=_ago(worker.seen_at, now),
        is_odd_version=bool(usual) and worker.version != usual,
        lag="bad" if worker.lag >= LONG_LAG else "",
        waiting=""
        if waiting < 2**20
        else f"{waiting / 2**20:.0f} MB wait{', also on disk' if worker.spool_bytes else ''}",
        url=reverse("admin:calls_worker_drain", args=[worker.pk]),
    )


def _state(worker: Worker) -> tuple[str, str, str]:
    if worker.ended_at is not None:
        return "Ended", "quiet", "in an orderly way"
    if worker.is_gone:
        held = f"{_count(worker.streams, 'call')} then" if worker.streams else "no call then"
        return "Gone", "bad", f"died, or cannot reach the database; {held}"
    if worker.is_to_drain:
        asked = f"asked by {worker.drain_asked_by}" if worker.drain_asked_by else "it was told to end"
        soon = "" if worker.draining else ", and will read it within 5 s"
        empty = "no call is left" if worker.draining and not worker.streams else ""
        return "Draining", "warn", ", ".join(filter(None, [asked + soon, empty]))
    if worker.reasons:
        return "Not ready", "bad", ", ".join(map(str, worker.reasons))
    return "Ready", "good", "does the chores" if worker.does_chores else ""


def lines(workers: Iterable[Worker], now: dt.datetime, may_see_calls: bool) -> list[Line]:
    """What the workers' logs have last warned of, the newest first. One query, for the calls that are named."""
    since = (now - LATELY).timestamp()
    said = [
        (worker, problem)
        for worker in workers
        for problem in worker.problems
        if problem["at"] > since and not is_routine(problem["text"])
    ]
    latest = sorted(said, key=lambda one: one[1]["at"], reverse=True)[:MOST_PROBLEMS]
    sids = {problem["call"] for _, problem in latest if problem["call"] and may_see_calls}
    calls = {call.sid: call for call in Call.objects.filter(sid__in=sids).only("sid", "created_at")}
    return [
        Line(
            at=time_tag(dt.datetime.fromtimestamp(problem["at"], dt.UTC)),
            worker=worker,
            level=problem["level"],
            event=problem["event"],
            text=problem["text"],
            times=problem["times"],
            call=calls.get(problem["call"]),
            meaning=meaning(problem["text"]),
        )
        for worker, problem in latest
    ]


def bad_calls(now: dt.datetime, *, whole: bool) -> list[Bad]:
    """The latest calls that ended as nobody wanted: of the newest ones that have a warning, or that failed."""
    since = now - LATELY
    newest = Call.objects.order_by("-created_at", "-pk").filter(created_at__gt=since)
    keys = set(newest.filter(has_warning=True).values_list("pk", flat=True)[:LOOKED_AT])
    keys |= set(newest.filter(status=Call.Status.FAILED).values_list("pk", flat=True)[:LOOKED_AT])
    calls = Call.objects.filter(Q(ended_at__isnull=False), pk__in=keys).defer("parameters", "data", "data_at", "notes")
    events = CallEvent.objects.filter(kind__in=why.KINDS).select_related("user")
    fetched = list(calls.prefetch_related("streams", Prefetch("events", events, to_attr="telling")))
    streams = [stream for call in fetched for stream in call.streams.all()]
    workers = why.workers_of(streams)
    found = []
    for call in sorted(fetched, key=lambda call: (call.ended_at or now, call.pk), reverse=True):
        told = why.ending(call, call.streams.all(), call.telling, workers, whole=whole)  # type: ignore[attr-defined]
        if told is not None and told.tone == "bad":
            found.append(Bad(call, wording.of_call(call, whole), time_tag(call.ended_at), told))
    return found[:MOST_CALLS]


def _names(workers: Sequence[Worker]) -> str:
    return ", ".join(map(str, workers[:3])) + (f" and {len(workers) - 3} more" if len(workers) > 3 else "")


def _count(number: int, word: str) -> str:
    return f"{number or 'no'} {word}{'' if number == 1 else 's'}"


def _ago(at: dt.datetime, now: dt.datetime) -> str:
    seconds = max(0, round((now - at).total_seconds()))
    if seconds < 60:
        return f"{seconds} s ago"
    if seconds < 3600:
        return f"{seconds // 60} min ago"
    local = timezone.localtime(at)
    return date_format(local, "H:i" if local.date() == timezone.localdate() else "j M, H:i")
