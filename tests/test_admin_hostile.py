"""What a caller may have chosen is shown as text, everywhere: numbers, names, parameters, marks, keys, events."""

import pytest

from calls.models import Call, Tag
from tests.support.factories import make_call, make_digit, make_event, make_mark, make_staff, make_stream


pytestmark = pytest.mark.django_db
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    '"><script>alert(1)</script>',
    "</script><script>alert(1)</script>",
    "javascript:alert(1)",
    "{{ 7|add:7 }}{% load x %}",
    "\u202e\u2066gnp.exe\u2069",
    "A" * 255,
]


@pytest.fixture(params=HOSTILE)
def call(request):
    text = request.param
    call = make_call(
        **{"from_number": text, "to_number": text, "caller_name": text, "forwarded_from": text},
        **{"handler": text[:100], "parameters": {text: text}, "notes": text, "audio_samples": 8000},
    )
    stream = make_stream(call, name=text, length=8000, custom_parameters={text: text})
    make_mark(stream, name=text)
    make_digit(stream, text[:8])
    make_event(call, kind=text[:64], data={text: text})
    call.tags.add(Tag.objects.create(name=text[:50]))
    return call


@pytest.fixture(params=[True, False], ids=["whole", "masked"])
def staff(request, client):
    numbers = ["see_numbers"] if request.param else []
    client.force_login(make_staff("view_call", "change_call", "listen_call", "export_call", "view_tag", *numbers))


def test_nothing_of_a_callers_text_becomes_markup(client, staff, call):
    for address in ("", f"{call.pk}/change/", f"{call.pk}/follow.json", f"{call.pk}/history/", "?q=x"):
        html = client.get(f"/admin/calls/call/{address}").content.decode()
        assert "<img src=x" not in html
        assert "<script>alert" not in html
        assert 'href="javascript:' not in html


def test_a_row_of_the_export_stays_a_row(client, staff, call):
    lines = b"".join(client.get("/admin/calls/call/export.csv").streaming_content).decode().splitlines()
    assert len(lines) == 2


def test_the_pages_have_no_scripts_or_styles_of_their_own(client, staff):
    call = make_call(audio_samples=8000)
    for address in ("/admin/", "/admin/calls/call/", f"/admin/calls/call/{call.pk}/change/"):
        html = client.get(address).content.decode()
        assert "<script>" not in html
        assert "<style" not in html
        assert " style=" not in html
        assert "onclick" not in html


def test_a_header_never_holds_a_callers_text(client, staff):
    call = make_call()
    evil = "CA\r\nSet-Cookie: x=1"
    Call.objects.filter(pk=call.pk).update(sid=evil, from_number=f"{evil}٣", to_number=evil)
    client.force_login(make_staff("download_call", "see_numbers"))
    response = client.get(f"/admin/calls/call/{call.pk}/recording.wav?download=1")
    assert response["Content-Disposition"] == f'attachment; filename="call-{call.pk}-2026-03-14-150926-1.wav"'
