"""Who may hear a recording, and that every listen, download and range of it is on record first."""

import datetime as dt

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import reverse

from calls.models import RecordingAccess
from tests.support.factories import make_recording, make_staff, recording_url


pytestmark = pytest.mark.django_db


@pytest.fixture
def call():
    return make_recording(seconds=1)


def test_whoever_may_only_view_calls_hears_nothing(client, call):
    client.force_login(make_staff("view_call", "download_call"))
    assert client.get(recording_url(call)).status_code == 403
    assert client.head(recording_url(call)).status_code == 403


def test_whoever_may_only_listen_downloads_nothing(client, listener, call):
    assert client.get(recording_url(call, "?download=1")).status_code == 403


def test_who_is_not_logged_in_is_asked_to(client, call):
    assert client.get(recording_url(call)).status_code == 302


def test_somebody_who_is_not_staff_is_asked_to_log_in_as_staff(client, call):
    client.force_login(make_staff("listen_call", is_staff=False))
    assert client.get(recording_url(call)).status_code == 302


def test_a_listen_is_on_record_before_the_first_byte(client, listener, call):
    response = client.get(recording_url(call), REMOTE_ADDR="192.0.2.7")
    access = RecordingAccess.objects.get()
    assert (access.call, access.user, access.kind) == (call, listener, "listen")
    assert (access.address, access.detail) == ("192.0.2.7", "stereo pcm16")
    response.close()


def test_a_players_ranges_are_one_listen(client, listener, call):
    for first in (0, 1000, 0, 20000):
        client.get(recording_url(call), headers={"Range": f"bytes={first}-"})
    assert RecordingAccess.objects.count() == 1


def test_half_an_hour_later_it_is_another_listen(client, listener, call):
    client.get(recording_url(call))
    RecordingAccess.objects.update(at=dt.datetime.now(dt.UTC) - dt.timedelta(minutes=31))
    client.get(recording_url(call))
    assert RecordingAccess.objects.count() == 2


def test_two_people_are_two_listens(client, listener, call):
    client.get(recording_url(call))
    client.force_login(make_staff("listen_call"))
    client.get(recording_url(call))
    assert RecordingAccess.objects.values("user").distinct().count() == 2


def test_every_download_is_on_record_and_its_continuation_is_the_same(client, call):
    client.force_login(make_staff("download_call"))
    for headers in ({}, {"Range": "bytes=1000-"}, {}):
        client.get(recording_url(call, "?download=1"), headers=headers)
    assert list(RecordingAccess.objects.values_list("kind", flat=True)) == ["download", "download"]


def ranges():
    return [access.ranges for access in RecordingAccess.objects.order_by("pk")]


def test_what_was_sent_to_be_heard_is_on_record_before_it_is_sent(client, listener):
    response = client.get(recording_url(make_recording(seconds=40)))
    pieces = iter(response.streaming_content)
    assert ranges() == [[]]
    next(pieces)
    assert ranges() == [[[0, 15]]]
    assert sum(map(len, pieces)) > 32_000 * 30
    assert ranges() == [[[0, 40]]]


def test_ranges_that_were_heard_add_up(client, listener):
    call = make_recording(seconds=40)
    for first, last in [(10, 12), (30, 33), (11, 14)]:
        client.get(
            recording_url(call), headers={"Range": f"bytes={44 + 32_000 * first}-{43 + 32_000 * last}"}
        ).getvalue()
    assert ranges() == [[[10, 14], [30, 33]]]


def test_a_listener_who_jumps_all_over_the_place_leaves_a_list_of_a_hundred(client, listener):
    access = RecordingAccess.objects.create(kind="listen")
    for second in range(0, 500, 4):
        access.extend("ranges", second, second + 1)
    assert (len(access.ranges), access.ranges[0], access.ranges[-1]) == (100, [0, 101], [496, 497])


def test_the_calls_page_and_the_access_list_say_what_was_heard(client, listener):
    listener.user_permissions.add(Permission.objects.get(codename="view_recordingaccess"))
    client.force_login(User.objects.get(pk=listener.pk))
    call = make_recording(seconds=4)
    client.get(recording_url(call), headers={"Range": "bytes=44-64043"}).getvalue()
    for path in (reverse("admin:calls_call_change", args=[call.pk]), "/admin/calls/recordingaccess/"):
        assert "0:00–0:02 sent" in client.get(path).content.decode()


def test_what_a_player_has_played_is_on_record_beside_what_was_sent(client, listener):
    call = make_recording(seconds=40)
    client.get(recording_url(call)).getvalue()
    for ranges in (["0.0-4.2"], ["0.0-4.9", "30.1-33.0"]):
        assert client.post(reverse("admin:calls_call_played", args=[call.pk]), {"range": ranges}).status_code == 204
    access = RecordingAccess.objects.get()
    assert (access.played, access.ranges) == ([[0, 5], [30, 34]], [[0, 40]])
    assert "0:00–0:05, 0:30–0:34" in client.get(reverse("admin:calls_call_change", args=[call.pk])).content.decode()


@pytest.mark.parametrize("said", ["", "1", "x-y", "-1-2", "1e3-2", "9999999-9999999", "١-٢"])
def test_nonsense_of_a_player_is_not_on_record(client, listener, call, said):
    client.get(recording_url(call)).getvalue()
    assert client.post(reverse("admin:calls_call_played", args=[call.pk]), {"range": said}).status_code == 204
    assert RecordingAccess.objects.get().played == []


def test_nobody_says_what_another_one_has_played(client, listener, call):
    client.get(recording_url(call)).getvalue()
    played = reverse("admin:calls_call_played", args=[call.pk])
    for user, status in ((make_staff("view_call", "listen_call"), 204), (make_staff("view_call"), 403)):
        client.force_login(user)
        assert client.post(played, {"range": "0-5"}).status_code == status
    assert RecordingAccess.objects.get().played == []
