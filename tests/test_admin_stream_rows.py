"""The pages of streams and of what belongs to one: read only, linked, and fast however many rows there are."""

import pytest
from django.db import connection

from calls.models import AudioChunk
from tests.support.factories import make_call, make_chunk, make_digit, make_gap, make_mark, make_staff, make_stream


pytestmark = pytest.mark.django_db
KINDS = ["stream", "mark", "dtmf", "gap", "audiochunk"]
VIEW = [f"view_{kind}" for kind in KINDS]
# Session, user, two of permissions, and the rows with their streams and calls.
QUERIES = 5


def path(kind, pk=""):
    return f"/admin/calls/{kind}/{f'{pk}/change/' if pk else ''}"


def text(response):
    assert response.status_code == 200
    return response.content.decode()


@pytest.fixture
def ops(client):
    client.force_login(make_staff("view_call", "see_numbers", *VIEW))


@pytest.fixture
def parts():
    return make_parts()


def make_parts():
    stream = make_stream(name="assistant", custom_parameters={"number": "+15550100001"})
    mark, key, gap = make_mark(stream, name="for +15550100001"), make_digit(stream, "7"), make_gap(stream)
    return {"stream": stream, "mark": mark, "dtmf": key, "gap": gap, "audiochunk": make_chunk(stream, b"secret" * 40)}


@pytest.mark.parametrize("kind", KINDS)
def test_each_has_a_list_and_a_page_that_lead_to_the_call(client, ops, parts, kind):
    link = f'href="/admin/calls/call/{parts["stream"].call_id}/change/"'
    assert link in text(client.get(path(kind)))
    assert link in text(client.get(path(kind, parts[kind].pk)))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_it_is_added_changed_or_deleted(client, parts, kind):
    client.force_login(make_staff(is_superuser=True))
    pk = parts[kind].pk
    assert client.get(f"{path(kind)}add/").status_code == 403
    assert client.post(path(kind, pk), {"name": "x"}).status_code == 403
    assert client.post(f"{path(kind)}{pk}/delete/", {"post": "yes"}).status_code == 403


@pytest.mark.parametrize("kind", KINDS)
def test_who_may_not_see_it_sees_neither_page_nor_link(client, parts, kind):
    client.force_login(make_staff("view_call", "see_numbers"))
    assert client.get(path(kind)).status_code == 403
    assert client.get(path(kind, parts[kind].pk)).status_code == 403
    assert "/admin/calls/stream/" not in text(client.get(f"/admin/calls/call/{parts['stream'].call_id}/change/"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_list_costs_the_same_for_one_row_and_for_many_and_counts_nothing(
    client, ops, django_assert_num_queries, kind
):
    make_parts()
    for _ in range(2):
        with django_assert_num_queries(QUERIES) as queries:
            client.get(path(kind))
        for _ in range(5):
            make_parts()
    sql = " ".join(query["sql"] for query in queries)
    for unwanted in ("COUNT(", "payload", "peaks", '"calls_call"."parameters"'):
        assert unwanted not in sql


def test_no_page_reads_or_shows_audio(client, ops, parts, django_assert_num_queries):
    with django_assert_num_queries(QUERIES + 2) as queries:  # in a transaction of its own
        html = text(client.get(path("audiochunk", parts["audiochunk"].pk)))
    assert "payload" not in " ".join(query["sql"] for query in queries)
    assert "secret" not in html


def test_a_calls_page_leads_to_its_streams_and_a_stream_to_its_rows(client, ops, parts):
    stream = parts["stream"]
    assert f'href="/admin/calls/stream/{stream.pk}/change/"' in text(
        client.get(f"/admin/calls/call/{stream.call_id}/change/")
    )
    html = text(client.get(path("stream", stream.pk)))
    for kind in KINDS[1:]:
        assert f'href="/admin/calls/{kind}/?stream={stream.pk}"' in html


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_stream_has_its_own_rows_and_no_others(client, ops, parts, kind):
    make_parts()
    response = client.get(path(kind), {"stream": parts["stream"].pk})
    assert [row.pk for row in response.context["cl"].result_list] == [parts[kind].pk]
    assert "of one stream" in text(response)


@pytest.mark.parametrize("query", ["stream__call__from_number__startswith=%2B1", "payload__contains=x", "pk__gt=1"])
def test_nothing_else_filters(client, ops, parts, query):
    assert client.get(f"{path('audiochunk')}?{query}").status_code == 400


@pytest.mark.parametrize("kind", ["stream", "mark"])  # the others' rows hold no text
def test_numbers_are_masked_for_those_who_may_not_see_them(client, parts, kind):
    client.force_login(make_staff("view_call", *VIEW))
    assert "5550100001" not in text(client.get(path(kind))) + text(client.get(path(kind, parts[kind].pk)))


@pytest.mark.parametrize(
    ("index", "rows"),
    [
        ("calls_audiochunk_pkey", lambda stream: AudioChunk.objects.order_by("-pk")),
        ("chunk_by_start", lambda stream: AudioChunk.objects.filter(stream=stream).order_by("start", "pk")),
    ],
)
@pytest.mark.postgres
def test_the_database_names_the_index_of_each_list(index, rows):
    call, silence = make_call(), b"\xff" * 160
    streams = [make_stream(call) for _ in range(20)]
    AudioChunk.objects.bulk_create(
        AudioChunk(stream=stream, track="inbound", index=number, start=160 * number, length=160, payload=silence)
        for stream in streams
        for number in range(200)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE calls_audiochunk")
    assert index in rows(streams[0]).defer("payload", "peaks")[:101].explain()
