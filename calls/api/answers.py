"""The shape of every answer: a page, one thing, or what was wrong."""

from collections.abc import Iterable
from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja.errors import ValidationError
from pydantic import BaseModel


# Nothing of a call is kept on the way to whoever may read it.
_HEADERS = {"Cache-Control": "no-store, private", "X-Content-Type-Options": "nosniff"}
#: What each view calls its query: what is wrong with all of it names its parameter itself.
QUERY = "wanted"
#: What may be answered instead of what was asked for.
NOT_THIS = frozenset({400, 401, 403, 404, 429, 503})


class Problem(BaseModel):
    code: str
    """One word, for programs."""
    message: str
    """A sentence, for people."""


class Error(BaseModel):
    """What was wrong with a request."""

    error: Problem


class Refused(Exception):
    """Ends a request: with this status, a word for programs, and a sentence for people."""

    def __init__(self, status: int, code: str, message: str, wait: int = 0) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.wait = status, code, message, wait


def refusal(status: int, code: str, message: str, wait: int = 0) -> HttpResponse:
    """`wait` are seconds after which it may be tried again."""
    response = as_json(Error(error=Problem(code=code, message=message)))
    response.status_code = status
    if status == 401:
        response["WWW-Authenticate"] = 'Bearer realm="Callstream"'
    if wait:
        response["Retry-After"] = str(wait)
    # Django would warn of each one; who sends wrong tokens is logged once (calls/access/programs.py).
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response


def as_json(thing: BaseModel) -> HttpResponse:
    return _json(thing.model_dump_json().encode())


def page(name: str, things: Iterable[BaseModel], following: str | None) -> HttpResponse:
    """Each is written by itself: a long page keeps the interpreter from the calls' audio no longer than a short one."""
    pieces = b",".join(thing.model_dump_json().encode() for thing in things)
    return _json(
        b'{"%b":[%b],"next":%b}' % (name.encode(), pieces, f'"{following}"'.encode() if following else b"null")
    )


def bad_parameter(name: str, message: str) -> Refused:
    return Refused(400, "bad_parameter", f"{name}: {message}")


def not_found(what: str = "There is nothing at this address.") -> Refused:
    return Refused(404, "not_found", what)


def require(request: HttpRequest, permission: str) -> None:
    """Refuses a client without that permission, and says which one it is."""
    if not request.user.has_perm(f"calls.{permission}"):
        raise Refused(403, "forbidden", f"This client lacks the permission {permission}.")


def of_validation(error: ValidationError) -> Refused:
    """The first of what is wrong with the parameters: which one, and how."""
    first: dict[str, Any] = error.errors[0]
    message = str(first["msg"]).removeprefix("Value error, ")
    name = str(first["loc"][-1])
    return Refused(400, "bad_parameter", message) if name == QUERY else bad_parameter(name, message)


def nowhere(request: HttpRequest, rest: str = "") -> HttpResponse:
    """Whatever no other path is."""
    return refusal(404, "not_found", "There is nothing at this address. /api/v1/docs has those that there are.")


def _json(body: bytes) -> HttpResponse:
    return HttpResponse(body, content_type="application/json", headers=_HEADERS)
