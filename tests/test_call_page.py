"""What the socket of a running call's page says to whom."""

import pytest

from calls.models import Call
from calls.supervision.call_page import CallPage
from calls.supervision.followers import followers
from tests.support.factories import make_live_call, make_staff


pytestmark = pytest.mark.django_db


class Heard(CallPage):
    """What it says is kept."""

    def __init__(self, pk):
        super().__init__({"url_route": {"kwargs": {"pk": str(pk)}}}, None, None)
        self.said = []

    def say(self, **facts):
        self.said.append(facts)


def opened(*permissions, **facts):
    page = Heard(make_live_call(**facts).pk)
    page.find(make_staff("view_call", *permissions))
    return page


def entry(page, **facts):
    return {"call": page.call_sid, "stream": "MZ1", "end": 160, "is_new": False, "peaks": [[0, 0, b"\x01"]], **facts}


def test_who_may_listen_is_told_the_waveform():
    page = opened("listen_call")
    page.told(entry(page))
    assert page.said == [{"type": "grown", "stream": "MZ1", "end": 160, "peaks": [(0, 0, "AQ==")]}]


def test_who_may_not_listen_is_told_no_more_than_how_long_it_is():
    page = opened()
    page.told(entry(page))
    assert page.said == [{"type": "grown", "stream": "MZ1", "end": 160}]


def test_who_may_not_listen_any_more_is_told_no_waveform_after_the_next_look():
    page = opened("listen_call")
    page.find(make_staff("view_call"))
    page.told(entry(page))
    assert "peaks" not in page.said[0]


def test_news_of_a_stream_are_told_with_its_waveform():
    page = opened("listen_call")
    page.told(entry(page, is_new=True))
    assert [said["type"] for said in page.said] == ["grown", "changed"]


def test_a_call_that_twilio_does_not_know_yet_has_no_socket():
    page, user = Heard(make_live_call(sid=None).pk), make_staff("view_call")
    assert not page.find(user)


def test_a_call_that_was_erased_meanwhile_is_followed_no_more():
    page = opened()
    Call.objects.all().delete()
    assert not page.find(make_staff("view_call"))


async def test_a_page_looks_once_it_is_followed():
    page = Heard(1)
    page.call_sid = "CA1"
    await page.begin()
    page.end()
    assert page.said == [{"type": "changed"}]
    assert "CA1" not in followers._followers
