"""The audit log: who logged in and who could not, and who gave whom what, whichever page, command or claim did it.

Rows and groups that are changed by SQL, or by a QuerySet's `update`, send no signal and are not seen.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.contrib.auth.models import Group, Permission, User
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db.models import Model
from django.db.models.signals import m2m_changed, post_save, pre_delete, pre_save
from django.http import HttpRequest

from calls.models import AuditEntry


Event = AuditEntry.Event

#: The request that is being answered, where one is.
asking: ContextVar[HttpRequest | None] = ContextVar("asking", default=None)
_via: ContextVar[str] = ContextVar("via", default="")

# What of an account is told as it was and as it is. Of a password, only that it changed.
_TOLD = ("username", "email", "is_active", "is_staff", "is_superuser")


@contextmanager
def via(what: str) -> Iterator[None]:
    """Whatever is recorded inside was done by that, and by no member of staff."""
    before = _via.set(what)
    try:
        yield
    finally:
        _via.reset(before)


def record(
    event: str, about: object = "", detail: Mapping[str, object] | None = None, *, user: User | None = None
) -> AuditEntry:
    """Puts something on record: done by `user`, or else by whoever's request is being answered, or by a command."""
    request = asking.get()
    if user is None and request is not None and not _via.get() and isinstance(asker := request.user, User):
        user = asker
    how = _via.get() or ("" if request else "command")
    return AuditEntry.objects.create(
        event=event,
        user=user,
        who=user.get_username() if user else "",
        about=str(about)[:254],
        address=(request.META.get("REMOTE_ADDR", "") if request else "")[:64],
        detail={**(detail or {}), **({"via": how} if how else {})},
    )


# --- who comes and goes -----------------------------------------------------------------------------------------------


def _came(request: HttpRequest, user: User, **kwargs: Any) -> None:
    record(Event.LOG_IN, user, user=user)


def _went(request: HttpRequest, user: User | None, **kwargs: Any) -> None:
    if user is not None:
        record(Event.LOG_OUT, user, user=user)


def _failed(credentials: dict[str, Any], **kwargs: Any) -> None:
    if "username" in credentials:
        record_account(Event.LOG_IN_FAILED, str(credentials["username"]), {})


def record_account(event: str, name: str, detail: Mapping[str, object]) -> None:
    """The same for a name that somebody typed. One that nobody has may be a password, and is not kept."""
    user = User.objects.filter(username__iexact=name.strip()).first()
    record(event, user or "", detail if user else {**detail, "reason": "no such user"})


# --- who gives whom what ----------------------------------------------------------------------------------------------


def _before_user(instance: User, raw: bool, update_fields: Iterable[str] | None, **kwargs: Any) -> None:
    told = not update_fields or not {*_TOLD, "password"}.isdisjoint(update_fields)
    if instance.pk and told and not raw:
        found = User.objects.filter(pk=instance.pk).values(*_TOLD, "password").first()
        vars(instance)["_before"] = found


def _after_user(instance: User, created: bool, raw: bool, **kwargs: Any) -> None:
    if created:
        given = {name: True for name in ("is_staff", "is_superuser") if getattr(instance, name)}
        record(Event.USER_MADE, instance, given)
    elif before := vars(instance).pop("_before", None):
        changed = {name: [before[name], now] for name in _TOLD if before[name] != (now := getattr(instance, name))}
        if before["password"] != instance.password:
            changed["password"] = ["…", "changed"]
        if changed:
            record(Event.USER_CHANGED, instance, changed)


def _before_deletion(instance: User | Group, **kwargs: Any) -> None:
    if isinstance(instance, User):
        record(Event.USER_DELETED, instance)
    else:
        members = sorted(instance.user_set.values_list("username", flat=True))
        lost = {"members": members, "permissions": _names(instance.permissions.select_related("content_type"))}
        record(Event.GROUP_DELETED, instance, lost)


def _permissions(**facts: Any) -> None:
    _linked((Event.PERMISSIONS_GIVEN, Event.PERMISSIONS_TAKEN), "permissions", **facts)


def _groups(**facts: Any) -> None:
    _linked((Event.GROUPS_GIVEN, Event.GROUPS_TAKEN), "groups", **facts)


def _linked(
    events: tuple[str, str],
    what: str,
    *,
    instance: Any,
    action: str,
    reverse: bool,
    model: type[Model],
    pk_set: set[int] | None,
    **kwargs: Any,
) -> None:
    """A row of a many-to-many table is there or gone. `pk_set` is None where all of them go."""
    event = {"post_add": events[0], "post_remove": events[1], "pre_clear": events[1]}.get(action)
    if event is None or pk_set == set():
        return
    if pk_set is None:
        field = kwargs["sender"]._meta.get_fields()
        there = next(one for one in field if one.is_relation and one.related_model is type(instance))
        back = next(one for one in field if one.is_relation and one.related_model is model)
        pk_set = set(kwargs["sender"].objects.filter(**{there.name: instance}).values_list(back.attname, flat=True))
    found = model._default_manager.filter(pk__in=pk_set)
    if model is Permission:
        found = found.select_related("content_type")
    if not found:
        return
    if reverse:
        for one in found:
            record(event, one, {what: _names([instance])})
    else:
        record(event, instance, {what: _names(found)})


def _names(rows: Iterable[Any]) -> list[str]:
    return sorted(_name(row) for row in rows)


def _name(row: Any) -> str:
    return f"{row.content_type.app_label}.{row.codename}" if isinstance(row, Permission) else str(row)


def connect() -> None:
    """Once, when all apps are there."""
    user_logged_in.connect(_came)
    user_logged_out.connect(_went)
    user_login_failed.connect(_failed)
    pre_save.connect(_before_user, sender=User)
    post_save.connect(_after_user, sender=User)
    for model in (User, Group):
        pre_delete.connect(_before_deletion, sender=model)
        m2m_changed.connect(_permissions, sender=_through(model, "user_permissions", "permissions"))
    m2m_changed.connect(_groups, sender=User.groups.through)


def _through(model: type[Model], *names: str) -> Any:
    found = next(name for name in names if hasattr(model, name))
    return getattr(model, found).through
