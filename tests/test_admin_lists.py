"""Finding calls: filters, search, pages, exports and what staff do with a selection."""

import csv
import datetime as dt
import io
import re
import zipfile
from importlib import import_module

import pytest
from django.apps import apps
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.utils import timezone

from calls.access.groups import GROUPS, make_groups
from calls.admin.exports import batches
from calls.admin.lists import by_number, named, noted, with_data, with_notes
from calls.models import Call, CallEvent, RecordingAccess, Tag
from calls.tables import harmless
from tests.support.factories import make_call, make_event, make_live_call, make_recording, make_staff, make_stream


pytestmark = pytest.mark.django_db
LIST = "/admin/calls/call/"


@pytest.fixture
def ops(client):
    user = make_staff(
        *("view_call", "change_call", "listen_call", "download_call", "export_call", "see_numbers", "view_tag")
    )
    client.force_login(user)
    return user


def found(client, **query):
    response = client.get(LIST, query)
    assert response.status_code == 200
    return {call.pk for call in response.context["cl"].result_list}


def act(client, action, *calls, **fields):
    return client.post(LIST, {"action": action, "_selected_action": [call.pk for call in calls], **fields})


@pytest.mark.parametrize(
    ("query", "yes", "no"),
    [
        ({"status": "busy"}, {"status": "busy"}, {"status": "failed"}),
        ({"status": "live"}, {"ended_at": None}, {}),
        ({"direction": "inbound"}, {"direction": "inbound"}, {"direction": "outbound-api"}),
        ({"direction": "outbound"}, {"direction": "outbound-dial"}, {"direction": "inbound"}),
        ({"handler": "echo"}, {"handler": "echo"}, {"handler": "voicemail"}),
        ({"flag": "warning"}, {"has_warning": True}, {}),
        ({"flag": "interrupted"}, {"was_interrupted": True}, {}),
        ({"recording": "yes"}, {"audio_samples": 8000}, {}),
        ({"recording": "no"}, {}, {"audio_samples": 8000}),
        ({"reviewed": "yes"}, {"reviewed": True}, {}),
        ({"reviewed": "no"}, {}, {"reviewed": True}),
        ({"since": "2026-03-14T15:00"}, {}, {"created_at": "2026-03-14T14:59:59Z"}),
        ({"until": "2026-03-14T15:09"}, {}, {"created_at": "2026-03-14T15:10:00Z"}),
        ({"since": "2026-03-14", "until": "2026-03-14"}, {}, {"created_at": "2026-03-15T00:00:00Z"}),
        ({"until": "2026-03-14"}, {"created_at": "2026-03-14T23:59:59Z"}, {"created_at": "2026-03-15T00:00:00Z"}),
    ],
)
def test_a_filter_finds_what_it_says_and_nothing_else(client, ops, query, yes, no):
    wanted = make_call(**yes)
    make_call(**no)
    assert found(client, **query) == {wanted.pk}


def test_days_have_names(client, ops):
    now = timezone.localtime().replace(hour=0, minute=0, second=1)
    today, yesterday = make_call(created_at=now), make_call(created_at=now - dt.timedelta(hours=12))
    make_call()
    assert found(client, when="today") == {today.pk}
    assert found(client, when="yesterday") == {yesterday.pk}
    assert found(client, when="7d") == {today.pk, yesterday.pk}


def test_calls_are_found_by_their_tag(client, ops):
    call, tag = make_call(), Tag.objects.create(name="billing")
    make_call()
    call.tags.add(tag)
    assert found(client, tag=tag.pk) == {call.pk}


@pytest.mark.parametrize("query", ["status=%F0", "tag=x", "tag=", "handler=nobody", "when=never", "flag=", "o=99.x.-1"])
def test_a_nonsensical_filter_is_not_an_error(client, ops, query):
    assert client.get(f"{LIST}?{query}").status_code == 200


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("since=2026-03-14&until=2026-03-15T12:30", "14 Mar 2026 to 15 Mar 2026, 12:30"),
        ("since=2026-03-14T15:09", "Since 14 Mar 2026, 15:09"),
        ("until=2026-03-14", "Until 14 Mar 2026"),
        ("since=2026-03-01&until=2026-03-05T00:00", "1 Mar 2026 to 5 Mar 2026, 00:00"),
    ],
)
def test_a_typed_time_is_named_among_the_filters(client, ops, query, words):
    html = client.get(f"{LIST}?{query}").content.decode()
    assert re.search(f'<li class="selected"><a href="[^"]*">{words}</a></li>', html)


def test_a_time_that_ends_before_it_begins_is_said_to(client, ops):
    make_call()
    html = client.get(f"{LIST}?since=2026-03-15&until=2026-03-14").content.decode()
    assert "This time ends before it begins: 15 Mar 2026 to 14 Mar 2026." in html


@pytest.mark.parametrize("query", ["since=yesterday", "until=2026-02-30", "since=2026-13-01T25:00"])
def test_a_malformed_time_leads_back_to_the_list(client, ops, query):
    assert client.get(f"{LIST}?{query}")["Location"] == f"{LIST}?e=1"


@pytest.mark.parametrize("lookup", ["from_number__startswith=%2B1555", "notes__regex=(a%2B)%2B", "streams__sid=MZ"])
def test_only_our_filters_filter(client, ops, lookup):
    assert client.get(f"{LIST}?{lookup}").status_code == 400


@pytest.mark.parametrize("typed", ["+15557001234", "1 (555) 700-1234", "5557001234", "700-12", "7001234 "])
def test_a_number_is_found_as_people_type_it(client, ops, typed):
    caller, called = make_call(from_number="+15557001234"), make_call(to_number="+15557001234")
    make_call()
    assert found(client, q=typed) == {caller.pk, called.pk}


@pytest.mark.parametrize(
    "typed", ["(030) 901820", "030 901820", "030/90 18 20", "+49 (0)30 901820", "0049 30 901820", "49-30-901820"]
)
def test_a_number_from_abroad_is_found_as_its_own_people_write_it(client, ops, typed):
    call = make_call(from_number="+4930901820")
    make_call()
    assert found(client, q=typed) == {call.pk}


def test_the_end_of_a_number_may_begin_with_a_zero(client, ops):
    call = make_call(from_number="+15557000199")
    make_call(from_number="+15557199555")
    assert found(client, q="0199") == {call.pk}


def test_digits_are_found_in_notes_tags_and_parameters_too(client, ops):
    tagged, said, called = make_call(), make_call(), make_call()
    noted = make_call(notes="Asked for order 92774 again")
    tagged.tags.add(Tag.objects.create(name="campaign 92774"))
    make_stream(said, custom_parameters={"order": "92774"})
    Call.objects.filter(pk=called.pk).update(to_number="+15559277400")
    assert found(client, q="92774") == {noted.pk, tagged.pk, said.pk, called.pk}


@pytest.mark.parametrize("typed", ["Lovelace", "ada love", "Łukasz", "大文"])
def test_a_caller_is_found_by_name(client, ops, typed):
    calls = {name: make_call(caller_name=name).pk for name in ("Ada Lovelace", "Łukasz Nowak", "陳大文", "Zoë Müller")}
    assert found(client, q=typed) == {pk for name, pk in calls.items() if typed.lower() in name.lower()}


@pytest.mark.parametrize(
    "typed", ["order:A-17", "A-17", "a-17", "order: a-1", "shop:Zürich", "amount:12", "rows:two", "12", "amount:1250"]
)
def test_a_call_is_found_by_what_its_handler_has_set(client, ops, typed):
    call = make_call(data={"order": "A-17", "shop": "Zürich", "amount": 12, "rows": [1, "two"]})
    other = make_call(data={"order": "B-9", "shop": "Bern", "amount": 1250, "note": "A17, say 112"})
    make_call()
    assert found(client, q=typed) == {other.pk if "1250" in typed else call.pk}


@pytest.mark.parametrize("typed", ["amount:A-17", "Order:A-17x", "rder:A-17", "order:17-A", "order:12", "B:A-17"])
def test_a_name_before_a_colon_means_that_name(client, ops, typed):
    make_call(data={"order": "A-17", "amount": 12})
    assert found(client, q=typed) == set()


@pytest.mark.parametrize("typed", ['say "hi"', "100%", "a_b", "back\\slash"])
def test_data_with_odd_characters_is_found_as_it_is(client, ops, typed):
    call = make_call(data={"topic": typed})
    make_call(data={"topic": "axb 1000 other"})
    assert found(client, q=typed) == found(client, q=f"topic:{typed}") == {call.pk}


def test_a_call_is_found_by_what_its_handler_noted(client, ops):
    call = make_call()
    make_event(call, kind="note", source="stream", data={"text": "asked for a Refund", "position": 0})
    make_event(make_call(), kind="note", source="stream", data={"text": "refused", "position": 0})
    make_event(make_call(), kind="other", data={"text": "refund"})
    assert found(client, q="refund") == {call.pk}


@pytest.mark.parametrize(("typed", "number"), [("5557001", 0), ("call 555", 0), ("phone:5557", 0), ("order:A-17", 2)])
def test_data_and_notes_are_found_by_what_the_searcher_may_see(client, typed, number):
    client.force_login(make_staff("view_call"))
    make_call(data={"order": "A-17", "phone": "+15557001234"})
    make_event(make_call(), kind="note", data={"text": "call 5557001234", "position": 0})
    make_event(make_call(), kind="note", data={"text": "about order:A-17", "position": 0})
    assert len(found(client, q=typed)) == number


def test_two_characters_find_tags_and_names_and_what_is_nothing_else(client, ops):
    named, noted, tagged, said = (make_call(caller_name="Al"), make_call(notes="al"), make_call(), make_call())
    tagged.tags.add(Tag.objects.create(name="legal"))
    make_stream(said, custom_parameters={"topic": "AL"})
    make_stream(make_call(caller_name="Dalia", notes="He called"), custom_parameters={"topic": "always"})
    assert found(client, q="al") == {named.pk, noted.pk, tagged.pk, said.pk}
    assert "With so few characters: names that begin or end like this" in client.get(LIST, {"q": "al"}).content.decode()


@pytest.mark.parametrize(("typed", "number"), [("42", 1), ("421", 0)])
def test_two_characters_find_no_hidden_names(client, typed, number):
    client.force_login(make_staff("view_call"))
    make_stream(make_call(caller_name="42"), custom_parameters={"CallerName": "42"})
    make_stream(custom_parameters={"room": "42"})
    response = client.get(LIST, {"q": typed})
    assert len(response.context["cl"].result_list) == number
    assert "names that begin" not in response.content.decode()


@pytest.mark.parametrize("typed", ["CA5eed00", "5eed00", "5EED0012", "mzbeef01", "beef01"])
def test_the_beginning_of_a_sid_is_enough(client, ops, typed):
    call = make_call(sid="CA5eed0012" + "0" * 24)
    make_stream(call, sid="MZbeef0134" + "0" * 24)
    make_stream()
    assert found(client, q=typed) == {call.pk}


def test_a_caller_has_a_name_in_the_list(client, ops):
    make_call(caller_name="Ada Lovelace")
    assert "Ada Lovelace</bdi>" in client.get(LIST).content.decode()


def test_a_call_is_found_by_its_sid_in_any_case(client, ops):
    call = make_call(sid="CA" + "0a" * 16)
    make_call()
    assert found(client, q="  ca" + "0A" * 16) == {call.pk}


def test_a_call_is_found_by_its_streams_sid(client, ops):
    stream = make_stream(sid="MZ" + "0b" * 16)
    make_stream()
    assert found(client, q="MZ" + "0b" * 16) == {stream.call_id}


def test_words_are_found_in_notes_tags_and_parameters(client, ops):
    noted, tagged, said = make_call(notes="The Zürich invoice"), make_call(), make_call()
    make_call()
    tagged.tags.add(Tag.objects.create(name="Invoices"))
    make_stream(said, custom_parameters={"topic": "invoice 4711"})
    assert found(client, q="invoice") == {noted.pk, tagged.pk, said.pk}


@pytest.mark.parametrize("word", ['say "hi"', "Zürich", "100%", "a_b", "back\\slash", "陳大文"])
def test_words_with_odd_characters_are_found_as_they_are(client, ops, word):
    call = make_stream(custom_parameters={"topic": word}).call
    make_stream(custom_parameters={"topic": "axb 1000 other"})
    assert found(client, q=word) == {call.pk}


@pytest.mark.parametrize("term", ["\x00", "'; DROP TABLE calls_call; --", "%", "١٢٣٤٥", "++++", "x" * 5000])
def test_no_search_is_an_error(client, ops, term):
    make_call()
    assert client.get(LIST, {"q": term}).status_code == 200


def test_search_and_filter_go_together(client, ops):
    call = make_call(notes="refund", status="failed")
    make_call(notes="refund")
    assert found(client, q="refund", status="failed") == {call.pk}


def test_whoever_may_not_see_numbers_cannot_find_them_out_digit_by_digit(client):
    client.force_login(make_staff("view_call"))
    call = make_call(from_number="+15557001234")
    assert found(client, q="555700") == set()
    assert found(client, q="+1 (555) 700-1234") == {call.pk}
    assert "Only whole numbers are found" in client.get(LIST).content.decode()


def test_whoever_sees_whole_numbers_reads_nothing_of_that(client, ops):
    assert "Only whole numbers are found" not in client.get(LIST).content.decode()


@pytest.mark.parametrize("typed", ["5557", "15", "name 555", "Lovelace"])
def test_nothing_is_found_by_what_is_hidden_from_the_searcher(client, typed):
    client.force_login(make_staff("view_call"))
    call = make_call(caller_name="Ada Lovelace", from_number="+15557001234")
    said = {"number": "+15557001234", "name": "name 5557001", "CallerName": "Ada Lovelace", "greet": "ada lovelace"}
    make_stream(call, custom_parameters=said)
    assert found(client, q=typed) == set()


def test_what_is_not_hidden_is_found_in_parameters_even_without_seeing_numbers(client):
    client.force_login(make_staff("view_call"))
    call = make_stream(custom_parameters={"order": "4711"}).call
    assert found(client, q="4711") == {call.pk}


def test_calls_are_sorted_by_time_and_by_length(client, ops):
    short, long = make_call(audio_samples=8000), make_call(audio_samples=80_000, created_at="2026-01-01T00:00Z")
    by_length = [call.pk for call in client.get(LIST, {"o": "-5"}).context["cl"].result_list]
    by_time = [call.pk for call in client.get(LIST, {"o": "3"}).context["cl"].result_list]
    assert (by_length, by_time) == ([long.pk, short.pk], [long.pk, short.pk])


def table(response):
    text = b"".join(response.streaming_content).decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text)))


def test_the_filtered_list_is_exported_as_csv(client, ops):
    make_call(status="busy", duration=12, audio_samples=4000, notes="call\nback")
    make_call()
    (row,) = table(client.get(LIST + "export.csv?status=busy"))
    assert (row["from"], row["began (UTC)"], row["duration (s)"]) == ("'+15550100001", "2026-03-14 15:09:26", "12")
    assert (row["recorded (s)"], row["notes"]) == ("0.50", "call back")


def test_what_a_handler_set_is_in_the_table(client, ops):
    make_call(data={"who": "Zoë", "order": "A-17"}, data_at={"order": 1, "who": 2})
    (row,) = table(client.get(LIST + "export.csv"))
    assert row["data"] == '{"order": "A-17", "who": "Zoë"}'


def test_an_export_of_a_malformed_time_leads_back_to_the_list_like_the_list_itself(client, ops):
    assert client.get(LIST + "export.csv?since=garbage")["Location"] == f"{LIST}?e=1"
    assert not RecordingAccess.objects.exists()


def test_an_export_is_on_record_with_what_was_asked_for(client, ops):
    client.get(LIST + "export.csv?status=busy&q=%2B14155550100")
    access = RecordingAccess.objects.get()
    assert (access.user, access.kind, access.call) == (ops, "export", None)
    assert access.detail == "CSV of status=busy, a search"
    assert not LogEntry.objects.exists()


def test_exports_of_the_first_release_move_to_the_list_of_accesses_without_what_was_searched_for(ops):
    for query in ("all calls", "q=%2B14155550100&status=busy"):
        LogEntry.objects.create(
            user=ops, content_type=ContentType.objects.get_for_model(Call), object_repr="calls", action_flag=CHANGE,
            change_message=f"Exported as CSV: {query}",
        )  # fmt: skip
    import_module("calls.migrations.0010_move_exports_to_the_access_list").move_exports(apps, None)
    details = sorted(RecordingAccess.objects.filter(user=ops, kind="export").values_list("detail", flat=True))
    assert details == ["CSV of all calls", "CSV of status=busy, a search"]
    assert not LogEntry.objects.exists()


def test_accesses_of_the_first_release_learn_which_call_they_were_of():
    call = make_call()
    RecordingAccess.objects.create(call=call, kind="listen")
    RecordingAccess.objects.create(call=make_call(sid=None), kind="listen")
    import_module("calls.migrations.0010_move_exports_to_the_access_list").name_calls(apps, None)
    assert sorted(RecordingAccess.objects.values_list("call_sid", flat=True)) == ["", call.sid]


def test_the_list_of_accesses_tells_exports_from_calls_that_are_erased(client):
    client.force_login(make_staff("view_recordingaccess"))
    RecordingAccess.objects.create(kind="export", detail="CSV of all calls")
    RecordingAccess.objects.create(kind="listen", call_sid="CA7b1e09d4c2a85f6390d1e4b7a2c8f056")
    html = client.get("/admin/calls/recordingaccess/").content.decode()
    assert "a list" in html
    assert 'an erased call<br><span class="call-sid">CA7b1e09d4c2a85f6390d1e4b7a2c8f056</span>' in html


def test_accesses_are_found_by_callsid_and_by_user(client, django_assert_num_queries):
    user = make_staff("view_recordingaccess", username="Ada")
    client.force_login(user)
    sid = "CA" + "0a" * 16
    mine = RecordingAccess.objects.create(kind="listen", user=user)
    its = RecordingAccess.objects.create(kind="listen", call_sid=sid)
    for term, access in ((" ada", mine), (sid.upper(), its), (sid, its)):
        with django_assert_num_queries(6 if access == mine else 5) as queries:
            response = client.get("/admin/calls/recordingaccess/", {"q": term})
        assert list(response.context["cl"].result_list) == [access]
        assert "UPPER" not in queries[-1]["sql"]
        assert "LIKE" not in queries[-1]["sql"]
    assert not client.get("/admin/calls/recordingaccess/", {"q": "nobody"}).context["cl"].result_list


def test_an_export_masks_numbers_for_those_who_may_not_see_them(client):
    client.force_login(make_staff("view_call", "export_call"))
    make_call(caller_name="Ada", notes="call +1 555 010 0001 back", data={"phone": "+1 555 010 0001", "of": "Ada"})
    (row,) = table(client.get(LIST + "export.csv"))
    assert (row["from"], row["caller name"]) == ("'+•••••••0001", "")
    assert "555" not in row["notes"] + row["data"]
    assert "Ada" not in row["data"]


def test_who_may_not_export_gets_nothing(client):
    client.force_login(make_staff("view_call", "see_numbers"))
    assert client.get(LIST + "export.csv").status_code == 403
    assert "export.csv" not in client.get(LIST).content.decode()


@pytest.mark.parametrize(
    "cell",
    [
        *("=1+1", "+1555", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "\u00a0=1", "\n\n=1", "\u200b=1", "＝1"),
        *("\x01=1+1", "\x00\x1f @SUM(A1)", "\x7f\x85+1", "\u200f=1", "\u00ad=1"),
    ],
)
def test_no_cell_is_a_formula(cell):
    assert harmless(cell).startswith("'")


@pytest.mark.parametrize("cell", ["", "Ada", "3.5", 12, "1-2"])
def test_other_cells_stay_as_they_are(cell):
    assert harmless(cell) == str(cell)


def test_an_export_goes_on_where_the_batch_before_ended(monkeypatch):
    monkeypatch.setattr("calls.admin.exports.BATCH", 2)
    made = [make_call().pk for _ in range(3)] + [make_call(created_at="2026-01-01T00:00Z").pk]
    read = [call.pk for batch in batches(Call.objects.all()) for call in batch]
    assert sorted(read) == sorted(made)


def test_recordings_of_a_selection_come_as_zip(client, ops):
    first, second = make_recording(seconds=1), make_recording(seconds=2)
    make_recording()
    data = b"".join(act(client, "download", first, second).streaming_content)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        names = [f"call-{call.pk}-2026-03-14-150926-15550100001.wav" for call in (first, second)]
        assert set(archive.namelist()) == {"calls.csv", *names}
        assert archive.getinfo(names[1]).file_size == 44 + 2 * 8000 * 4
        # The table says which file is whose.
        assert all(name in archive.read("calls.csv").decode() for name in names)


def test_every_recording_in_a_zip_is_on_record(client, ops):
    calls = [make_recording(seconds=1), make_recording(seconds=1)]
    act(client, "download", *calls)
    assert RecordingAccess.objects.filter(kind="download", user=ops).count() == 2


def test_who_may_not_download_has_no_zip(client):
    client.force_login(make_staff("view_call", "change_call", "listen_call"))
    call = make_recording(seconds=1)
    assert act(client, "download", call).status_code == 302
    assert not RecordingAccess.objects.exists()


def test_a_selection_is_marked_as_reviewed_and_back(client, ops):
    call = make_call()
    act(client, "mark_reviewed", call)
    call.refresh_from_db()
    assert (call.reviewed, call.reviewed_by) == (True, ops)
    act(client, "mark_unreviewed", call)
    call.refresh_from_db()
    assert (call.reviewed, call.reviewed_by) == (False, None)


def test_a_tag_is_put_on_a_selection_twice_and_taken_off(client, ops):
    call, tag = make_call(), Tag.objects.create(name="billing")
    act(client, "put_tag", call, tag=tag.pk)
    act(client, "put_tag", call, tag=tag.pk)
    assert list(call.tags.all()) == [tag]
    act(client, "take_tag", call, tag=tag.pk)
    assert not call.tags.exists()


def test_an_action_without_its_tag_says_so(client, ops):
    response = client.post(LIST, {"action": "put_tag", "_selected_action": [make_call().pk], "tag": ""}, follow=True)
    assert "Choose a tag" in response.content.decode()


def test_viewers_have_no_actions(client):
    client.force_login(make_staff("view_call"))
    call = make_call()
    act(client, "mark_reviewed", call)
    call.refresh_from_db()
    assert not call.reviewed


def test_the_overview_counts_and_links(client, ops):
    now = timezone.now()
    make_live_call(created_at=now, answered_at=now, has_warning=True)
    make_call(created_at=now, answered_at=None, status="busy")
    make_recording(seconds=65, created_at=now)
    html = client.get("/admin/").content.decode()
    for part in ("Live now", "?status=live", "?when=today", "67 % answered", "1:05", "33 %", "<svg"):
        assert part in html


def test_the_overview_costs_a_fixed_number_of_queries(client, ops, django_assert_num_queries):
    client.get("/admin/")
    for _ in range(5):
        make_recording(seconds=1, created_at=timezone.now())
    # Session, user, two of permissions, the hours, the lengths, who is live, the waits; and Django's recent actions.
    with django_assert_num_queries(9):
        client.get("/admin/")


def test_the_overview_is_for_those_who_may_see_calls(client):
    client.force_login(make_staff("view_tag"))
    assert "Live now" not in client.get("/admin/").content.decode()


def test_groups_are_made_once_and_then_belong_to_their_owners():
    make_groups(using="default")
    viewer = Group.objects.get(name="Ops viewer")
    assert set(viewer.permissions.values_list("codename", flat=True)) == {
        *("view_call", "view_tag", "view_alert", "view_alertrule")
    }
    viewer.permissions.clear()
    make_groups(using="default")
    assert set(Group.objects.filter(name__in=GROUPS).values_list("name", flat=True)) == set(GROUPS)
    assert not viewer.permissions.exists()


@pytest.mark.parametrize("name", ["recordingaccess", "quarantinedrow", "erasure"])
def test_what_is_on_record_is_only_looked_at(client, name):
    client.force_login(make_staff(is_superuser=True))
    assert client.get(f"/admin/calls/{name}/").status_code == 200
    assert client.get(f"/admin/calls/{name}/add/").status_code == 403


FILTERS = [
    ("call_newest", lambda calls: calls),
    ("call_live", lambda calls: calls.filter(ended_at__isnull=True)),
    ("call_by_status", lambda calls: calls.filter(status="busy")),
    ("call_by_handler", lambda calls: calls.filter(handler="rare")),
    ("call_by_direction", lambda calls: calls.filter(direction="outbound-dial")),
    ("call_with_warning", lambda calls: calls.filter(has_warning=True)),
    ("call_interrupted", lambda calls: calls.filter(was_interrupted=True)),
    ("call_reviewed", lambda calls: calls.filter(reviewed=True)),
    ("call_by_length", lambda calls: calls.order_by("-audio_samples", "-pk")),
    ("call_by_from", lambda calls: calls.filter(from_number="+15550004999")),
]


# SQLite takes call_by_length.
WITHOUT_AUDIO = ("call_without_audio", lambda calls: calls.filter(audio_samples=0))


def test_the_database_names_the_index_of_each_filter(many_calls):
    newest = Call.objects.order_by("-created_at", "-pk")
    filters = [*FILTERS, WITHOUT_AUDIO] if connection.vendor == "postgresql" else FILTERS
    assert [index for index, query in filters if index not in query(newest)[:51].explain()] == []


SEARCHES = [
    ("call_search_number", lambda calls: calls.filter(by_number("(030) 901820", part=True))),
    ("call_search_name", lambda calls: calls.filter(named("lovelace"), caller_name__gt="")),
    ("call_search_name", lambda calls: calls.filter(named("zq"), caller_name__gt="")),
    ("call_search_name", lambda calls: calls.filter(named("大文"), caller_name__gt="")),
    ("call_search_notes", lambda calls: calls.filter(noted("92774"), notes__gt="")),
    ("call_search_notes", lambda calls: calls.filter(noted("ok"), notes__gt="")),
    ("call_search_data", lambda calls: with_data(calls, "A-17")),
    ("call_search_data", lambda calls: with_data(calls, "order:A-17")),
    ("call_search_data", lambda calls: with_data(calls, "amount:12")),
    # Either of the two that a whole number is in, and each of them as fast.
    ("Bitmap Index Scan on call_", lambda calls: calls.filter(by_number("+15550004999", part=False))),
    ("calls_call_sid", lambda calls: calls.filter(sid__gte="CA5eed0012", sid__lt="CA5eed0012g")),
]


@pytest.mark.postgres
def test_the_database_names_the_index_of_each_search(many_calls):
    Call.objects.filter(handler="rare").update(caller_name="Ada Lovelace", notes="order 92774")
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")  # five thousand calls are read sooner than looked up
    assert [index for index, query in SEARCHES if index not in query(Call.objects.order_by()).explain()] == []


@pytest.mark.postgres
@pytest.mark.parametrize("term", ["refund", "ok"])
def test_the_database_names_the_index_of_what_was_noted(term):
    call, facts = make_call(), {"source": "stream", "kind": "note", "occurred_at": timezone.now()}
    notes = (CallEvent(call=call, key=str(number), data={"text": f"note {number}"}, **facts) for number in range(3000))
    CallEvent.objects.bulk_create(notes)
    with connection.cursor() as cursor:
        cursor.execute("SELECT gin_clean_pending_list('event_search_notes')")
        cursor.execute("ANALYZE calls_callevent")
    assert "event_search_notes" in with_notes(term).explain()


def test_what_was_noted_is_found_without_reading_other_events():
    assert "event_notes" in CallEvent.objects.filter(kind="note").explain()


@pytest.fixture
def many_calls():
    start = timezone.now()
    rare = {"status": "busy", "handler": "rare", "direction": "outbound-dial", "ended_at": None}
    rare |= {"has_warning": True, "was_interrupted": True, "reviewed": True}
    usual = {"status": "completed", "handler": "echo", "direction": "inbound", "ended_at": start}
    Call.objects.bulk_create(
        Call(
            from_number=f"+1555{number:07}",
            created_at=start - dt.timedelta(minutes=number),
            audio_samples=8000 * (number % 2),
            **facts,
        )
        for number in range(5000)
        for facts in [rare if number % 250 == 249 else usual]
    )
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE calls_call")


def test_bulk_changes_are_in_each_calls_history(client, ops):
    call = make_call()
    act(client, "mark_reviewed", call)
    entry = LogEntry.objects.get(object_id=str(call.pk))
    assert (entry.user, entry.change_message) == (ops, "Marked as reviewed")
