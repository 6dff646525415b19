"""Twilio's messages as they come over the wire: literal texts in, messages or ProtocolErrors out."""

import json

import pytest

from calls.media.protocol import (
    MAX_KEYS,
    MAX_MESSAGE_SIZE,
    MAX_SEQUENCE_JUMP,
    ConnectedMessage,
    DtmfMessage,
    MarkMessage,
    MediaMessage,
    ProtocolError,
    StartMessage,
    State,
    StateError,
    StopMessage,
    StreamProtocol,
    Unknown,
    decode,
    excerpt,
)


# As Twilio sends them: compact, its own key order, counters as strings.
CONNECTED = '{"event":"connected","protocol":"Call","version":"1.0.0"}'
START = (
    '{"event":"start","sequenceNumber":"1","start":{"accountSid":"AC3f0c6a1d2b4e58790f1e2d3c4b5a6978",'
    '"streamSid":"MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687","callSid":"CA7b1e09d4c2a85f6390d1e4b7a2c8f056",'
    '"tracks":["inbound"],"mediaFormat":{"encoding":"audio/x-mulaw","sampleRate":8000,"channels":1},'
    '"customParameters":{"token":"q3Zr8"}},"streamSid":"MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687"}'
)
MEDIA = (
    '{"event":"media","sequenceNumber":"2","media":{"track":"inbound","chunk":"1","timestamp":"153",'
    '"payload":"/39+/g=="},"streamSid":"MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687"}'
)
DTMF = (
    '{"event":"dtmf","streamSid":"MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687","sequenceNumber":"2",'
    '"dtmf":{"track":"inbound_track","digit":"5"}}'
)
MARK = (
    '{"event":"mark","sequenceNumber":"2","streamSid":"MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687",'
    '"mark":{"name":"greeting-3"}}'
)
STOP = (
    '{"event":"stop","sequenceNumber":"2","streamSid":"MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687",'
    '"stop":{"accountSid":"AC3f0c6a1d2b4e58790f1e2d3c4b5a6978","callSid":"CA7b1e09d4c2a85f6390d1e4b7a2c8f056"}}'
)
UNKNOWN = '{"event":"hold","sequenceNumber":"2","streamSid":"MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687","hold":{}}'
STREAM_SID = "MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687"
CALL_SID = "CA7b1e09d4c2a85f6390d1e4b7a2c8f056"
OTHER_SID = "MZ00000000000000000000000000000000"


@pytest.fixture
def stream() -> StreamProtocol:
    """A stream that has started."""
    protocol = StreamProtocol()
    protocol.receive(CONNECTED)
    protocol.receive(START)
    return protocol


def refused(protocol: StreamProtocol, text: str | bytes) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        protocol.receive(text)
    return caught.value


def numbered(text: str, number: str) -> str:
    return text.replace('"sequenceNumber":"2"', f'"sequenceNumber":{number}')


# --- what each message says -------------------------------------------------------------------------------------------


def test_connected_has_no_counter_and_no_stream():
    assert decode(CONNECTED) == ConnectedMessage(protocol="Call", version="1.0.0")


def test_start_says_which_call_this_is():
    message = decode(START)
    assert isinstance(message, StartMessage)
    assert (message.stream_sid, message.start.call_sid, message.sequence_number) == (STREAM_SID, CALL_SID, 1)
    assert message.start.account_sid == "AC3f0c6a1d2b4e58790f1e2d3c4b5a6978"


def test_start_brings_tracks_parameters_and_a_format_of_numbers():
    start = decode(START).start
    assert (start.tracks, start.custom_parameters) == (("inbound",), {"token": "q3Zr8"})
    assert start.media_format == {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}


def test_start_without_parameters_has_none():
    assert decode(START.replace('{"token":"q3Zr8"}', "{}")).start.custom_parameters == {}


def test_media_is_decoded_from_base64_and_its_counters_from_strings():
    message = decode(MEDIA)
    assert isinstance(message, MediaMessage)
    assert message.media.payload == b"\xff\x7f\x7e\xfe"
    assert (message.media.timestamp, message.media.chunk, message.sequence_number) == (153, 1, 2)


def test_dtmf_names_its_track_inbound_track():
    message = decode(DTMF)
    assert isinstance(message, DtmfMessage)
    assert (message.dtmf.digit, message.dtmf.track) == ("5", "inbound_track")


def test_a_mark_brings_its_name_back():
    message = decode(MARK)
    assert isinstance(message, MarkMessage)
    assert message.mark.name == "greeting-3"


def test_stop_names_the_call():
    message = decode(STOP)
    assert isinstance(message, StopMessage)
    assert message.stop.call_sid == CALL_SID


# --- what is tolerated ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [CONNECTED, START, MEDIA, DTMF, MARK, STOP])
def test_fields_that_do_not_exist_yet_are_tolerated(text):
    assert decode(text[:-1] + ',"region":{"edge":["dublin",null,1.5]}}') == decode(text)


@pytest.mark.parametrize("text", [CONNECTED, START, MEDIA, DTMF, MARK, STOP])
def test_any_key_order_and_spacing_is_tolerated(text):
    turned = json.dumps(dict(reversed(json.loads(text).items())), indent=2)
    assert decode(turned) == decode(text)


@pytest.mark.parametrize("text", [CONNECTED, START, MEDIA, DTMF, MARK, STOP])
def test_bytes_are_taken_like_text(text):
    assert decode(text.encode()) == decode(text)


@pytest.mark.parametrize("version", ["0.2.0", "2.0.0-beta", ""])
def test_no_version_is_refused(version):
    assert decode(CONNECTED.replace("1.0.0", version)).version == version


@pytest.mark.parametrize("number", ['"7"', "7", "7.0"])
def test_counters_are_strings_or_numbers(number):
    assert decode(numbered(MARK, number)).sequence_number == 7


@pytest.mark.parametrize(("payload", "size"), [("", 0), ("/w==", 1), ("////" * 4000, 12000)])
def test_a_payload_has_any_length(payload, size):
    assert decode(MEDIA.replace("/39+/g==", payload)).media.payload == b"\xff" * size


def test_a_mark_may_have_any_name():
    assert decode(MARK.replace("greeting-3", '\\u0000 <b>"ü\\ud83c\\udfb5'.replace('"', '\\"'))).mark.name == (
        '\0 <b>"ü🎵'
    )


def test_stop_may_come_without_a_body():
    assert decode('{"event":"stop"}') == StopMessage()


@pytest.mark.parametrize("event", ["close", "closed", "error", "hold", "MEDIA", ""])
def test_an_event_that_does_not_exist_is_unknown(event):
    text = f'{{"event":"{event}","streamSid":"{STREAM_SID}","sequenceNumber":"9"}}'
    assert decode(text) == Unknown(event, STREAM_SID, 9)


def test_the_name_of_an_unknown_event_is_bounded():
    assert decode('{"event":"%s"}' % ("x" * 5000)).event == "x" * 64


# --- what is refused --------------------------------------------------------------------------------------------------


def kind_of(text: str | bytes) -> str:
    with pytest.raises(ProtocolError) as caught:
        decode(text)
    return caught.value.kind


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        '{"event":"mark"',
        CONNECTED + CONNECTED,
        MEDIA[:-9],
        '{"event":"start","start":{"callSid":"x","customParameters":{"a":NaN}}}',
    ],
)
def test_what_is_not_json_is_refused(text):
    assert kind_of(text) == "json"


@pytest.mark.parametrize("text", ["[1]", '"x"', "null", "1", "true", "{}", '{"event":null}', '{"event":5}'])
def test_json_that_is_not_a_message_has_the_wrong_shape(text):
    assert kind_of(text) == "shape"


@pytest.mark.parametrize(
    "text",
    [
        '{"event":"start"}',
        '{"event":"start","start":{}}',
        '{"event":"media"}',
        '{"event":"media","media":{"timestamp":"1"}}',
        '{"event":"media","media":{"payload":""}}',
        '{"event":"media","media":{"timestamp":"1","payload":"","track":"inbound_track"}}',
        '{"event":"dtmf","dtmf":{}}',
        '{"event":"mark"}',
        '{"event":"mark","mark":null}',
        '{"event":"mark","mark":{"name":1}}',
        '{"event":"stop","stop":[]}',
        '{"event":"connected","streamSid":1}',
    ],
)
def test_a_known_event_with_a_missing_or_wrong_field_has_the_wrong_shape(text):
    assert kind_of(text) == "shape"


def test_a_mark_without_a_name_has_the_wrong_shape():
    assert kind_of(MARK.replace('"name":"greeting-3"', "")) == "shape"


def test_an_unknown_event_with_a_wrong_counter_has_the_wrong_shape():
    assert kind_of(numbered(UNKNOWN, '"many"')) == "shape"


@pytest.mark.parametrize(
    "number",
    ['"1_000"', '" 12 "', '"١٢"', '"007"', '"+5"', '"-1"', "-1", '""', "2.5", "true", "[]", '"0x10"', "1" * 5000],
)
def test_a_counter_that_int_would_take_or_choke_on_is_refused(number):
    assert kind_of(numbered(MARK, number)) == "shape"


@pytest.mark.parametrize("payload", ["!!!!AAAA", "AAA", "A", "AA=", "AAAA====", "____", "AAAA\\n", " AAAA", "AA==AA=="])
def test_base64_is_never_guessed(payload):
    assert kind_of(MEDIA.replace("/39+/g==", payload)) == "shape"


@pytest.mark.parametrize("digit", ["", "55", "5\\n", "E", "+", "٥", " ", "•"])
def test_a_key_is_one_of_a_telephone(digit):
    assert kind_of(DTMF.replace('"5"', f'"{digit}"')) == "shape"


@pytest.mark.parametrize("digit", "0123456789*#ABCDabcd")
def test_every_key_of_a_telephone_is_taken(digit):
    assert decode(DTMF.replace('"5"', f'"{digit}"')).dtmf.digit == digit


def test_a_lone_surrogate_is_not_json_escaped_or_not():
    assert kind_of(MARK.replace("greeting-3", "\\ud800")) == "json"
    assert kind_of(MARK.replace("greeting-3", "\ud800")) == "json"


def test_bytes_that_are_not_utf_8_are_not_json():
    assert kind_of(b'{"event":"mark","mark":{"name":"\xff\xfe"}}') == "json"


@pytest.mark.parametrize("before", ["", '{"event":"mark","x":', '{"event":"hold","x":', START[:-1] + ',"x":'])
@pytest.mark.parametrize("bracket", ["[", '{"a":'])
def test_deep_json_is_refused_and_does_not_exhaust_the_stack(before, bracket):
    assert kind_of(before + bracket * 12_000) in ("json", "shape")


def test_a_deep_unknown_event_is_refused():
    deep = "[" * 20_000 + "]" * 20_000
    assert kind_of(UNKNOWN.replace("{}", deep)) in ("json", "shape")


def test_a_message_of_64_kib_is_parsed_and_a_longer_one_is_not():
    fits = CONNECTED + " " * (MAX_MESSAGE_SIZE - len(CONNECTED))
    assert isinstance(decode(fits), ConnectedMessage)
    assert kind_of(fits + " ") == "size"


def test_a_number_of_5000_digits_is_refused_wherever_it_stands():
    assert kind_of(START.replace('"q3Zr8"', "1" * 5000)) == "shape"


# --- what a refusal says ----------------------------------------------------------------------------------------------


def test_a_reason_names_the_field_that_is_wrong():
    error = refused(StreamProtocol(), MEDIA.replace('"153"', '"soon"'))
    assert str(error) == "shape: Expected `int`, got `str` - at `$.media.timestamp`"


@pytest.mark.parametrize(
    "text",
    [
        '{"event":"%s","sequenceNumber":"x"}' % ("evil\\n " * 5000),
        '{"event":"media","media":{"timestamp":"1","payload":"","track":"%s"}}' % ("evil\\n " * 5000),
    ],
)
def test_a_reason_is_one_short_line_whatever_it_quotes(text):
    reason = refused(StreamProtocol(), text).reason
    assert len(reason) <= 200
    assert reason.isprintable()


def test_a_reason_quotes_no_token():
    token = "WyJDQTdiMWUwOWQ0YzJhODVm:1wXyZ1:q3Zr8f0c6a1d2b4e58790f1e2d3c4b5a6978q3Zr8"
    reason = refused(StreamProtocol(), MEDIA.replace('"inbound"', f'"{token}"')).reason
    assert "q3Zr8f0c6" not in reason
    assert "CQTdiMWUw" not in reason


@pytest.mark.parametrize("text", ["\x1b[31m\r\nfake log line", "\u202eevil", "\ud800", b"\x00\xff\n", "🎵" * 300])
def test_an_excerpt_is_printable_ascii_of_at_most_120_characters(text):
    shown = excerpt(text)
    assert shown.isascii()
    assert shown.isprintable()
    assert len(shown) <= 120


def test_an_excerpt_keeps_the_shape_of_a_message():
    assert excerpt(MEDIA) == (
        '{"event":"media","sequenceNumber":"?","media":{"track":"inbound","chunk":"?","timestamp":"???",'
        '"payload":"/??+/g=="},"st'
    )


@pytest.mark.parametrize(
    "text",
    [
        '{"event":"dtmf","dtmf":{"digit":"8642"}}',
        '{"event":"dtmf","dtmf":{"digit": "8"}}',
        '{"event":"dtmf","dtmf":{"digit":8}}',
        '{"event":"dtmf","dtmf":{"digit":"\\u0038"}}',
        '{"event":"dtmf","dtmf":{"dihit":"8","di\\u0067it":"6"}}',
        '{"event":"dtmf","dtmf":{"digits":["8","6","4","2"]}}',
        '{"event":"dtmf" "digit" 8',
    ],
)
def test_an_excerpt_shows_no_key_that_was_pressed(text):
    assert not set("8642") & set(excerpt(text))


@pytest.mark.parametrize("digit", ["*", "**", "#", "A#"])
def test_an_excerpt_shows_no_key_without_a_number_either(digit):
    assert excerpt(f'{{"dtmf":{{"digit":"{digit}"}}}}') == '{"dtmf":{"digit":?}}'


def test_an_excerpt_shows_no_telephone_number():
    assert excerpt('{"From":"+15550100001"}') == '{"From":"+???????????"}'


def test_an_excerpt_shows_no_token_no_sid_and_no_payload():
    long = "q3Zr8fOcGaLdRbKe" + "x"
    for text in ('{"token":"%s:%s"}', "%s %s", "[%s.%s]", '{"payload":"%s" "%s'):
        assert "q3Zr8" not in excerpt(text % (long, long))


def test_an_excerpt_of_bytes_is_cut_like_one_of_text():
    assert excerpt(MEDIA.encode()) == excerpt(MEDIA)


def test_an_excerpt_of_a_huge_text_costs_no_more_than_one_of_a_short_text():
    assert excerpt('digit"' * 1_000_000) == excerpt('digit"' * 200)


# --- the order --------------------------------------------------------------------------------------------------------


def test_a_conversation_goes_from_connecting_to_stopped():
    protocol = StreamProtocol()
    states = [protocol.state]
    for text in (CONNECTED, START, MEDIA, numbered(STOP, '"3"')):
        protocol.receive(text)
        states.append(protocol.state)
    assert states == [State.CONNECTING, State.CONNECTED, State.STREAMING, State.STREAMING, State.STOPPED]
    assert (protocol.sequence_gaps, protocol.duplicates, protocol.rejected, protocol.unknown) == (0, 0, {}, 0)


def test_start_may_come_without_connected():
    protocol = StreamProtocol()
    protocol.receive(START)
    assert (protocol.state, protocol.stream_sid) == (State.STREAMING, STREAM_SID)


@pytest.mark.parametrize("text", [MEDIA, DTMF, MARK])
def test_nothing_comes_before_start(text):
    protocol = StreamProtocol()
    protocol.receive(CONNECTED)
    assert str(refused(protocol, text)).endswith("while connected")
    assert protocol.state is State.CONNECTED


def test_stop_before_start_is_a_protocol_error():
    protocol = StreamProtocol()
    assert refused(protocol, STOP).kind == "order"
    assert protocol.state is State.CONNECTING


def test_a_second_connected_is_refused_before_and_after_start():
    protocol = StreamProtocol()
    protocol.receive(CONNECTED)
    assert refused(protocol, CONNECTED).reason == "a second connected"
    protocol.receive(START)
    assert refused(protocol, CONNECTED).reason == "a second connected"


def test_a_second_start_is_refused_and_changes_nothing(stream):
    assert refused(stream, START.replace(STREAM_SID, OTHER_SID)).reason == "a second start"
    assert stream.stream_sid == STREAM_SID
    assert isinstance(stream.receive(MEDIA), MediaMessage)


@pytest.mark.parametrize("text", [CONNECTED, START, MEDIA, DTMF, MARK, STOP, UNKNOWN])
def test_nothing_comes_after_stop(stream, text):
    stream.receive(STOP)
    assert refused(stream, text).kind == "order"


def test_the_end_of_the_socket_stops_a_stream_once(stream):
    stream.stop()
    stream.stop()
    assert stream.state is State.STOPPED


def test_the_state_never_goes_back(stream):
    with pytest.raises(AssertionError, match="STREAMING -> CONNECTED"):
        stream._move(State.CONNECTED)


@pytest.mark.parametrize("text", [MEDIA, DTMF, MARK, STOP, UNKNOWN])
def test_a_message_of_another_stream_is_refused(stream, text):
    assert refused(stream, text.replace(STREAM_SID, OTHER_SID)).kind == "stream"
    assert stream.state is State.STREAMING


@pytest.mark.parametrize("text", [MEDIA, DTMF, MARK, STOP])
def test_a_message_of_no_stream_is_refused(stream, text):
    assert refused(stream, text.replace(STREAM_SID, "")).kind == "stream"


def test_an_unknown_event_is_counted_whether_it_names_the_stream_or_not(stream):
    stream.receive(UNKNOWN)
    stream.receive('{"event":"closed"}')
    assert (stream.unknown, stream.frames_rejected, stream.state) == (2, 0, State.STREAMING)


def test_an_unknown_event_before_start_is_counted_too():
    protocol = StreamProtocol()
    protocol.receive('{"event":"hello"}')
    assert (protocol.unknown, protocol.state) == (1, State.CONNECTING)


@pytest.mark.parametrize(("sid", "nested"), [("", STREAM_SID), (STREAM_SID, ""), (STREAM_SID.upper(), "")])
def test_start_names_its_stream_at_least_once(sid, nested):
    protocol = StreamProtocol()
    text = START.replace(f'"streamSid":"{STREAM_SID}","callSid"', f'"streamSid":"{nested}","callSid"')
    protocol.receive(text.replace(f'"streamSid":"{STREAM_SID}"}}', f'"streamSid":"{sid}"}}'))
    assert protocol.stream_sid == (sid or nested)


@pytest.mark.parametrize("sid", ["", "MZ123", f"{STREAM_SID}0", f"{STREAM_SID}\\n", CALL_SID, '\\"}'])
def test_a_start_without_a_usable_stream_is_refused(sid):
    protocol = StreamProtocol()
    assert refused(protocol, START.replace(STREAM_SID, sid)).reason == "start without a usable streamSid"
    assert protocol.state is State.CONNECTING


def test_a_start_that_names_two_streams_is_refused():
    protocol = StreamProtocol()
    assert refused(protocol, START.replace(STREAM_SID, OTHER_SID, 1)).kind == "shape"


@pytest.mark.parametrize("sid", ["", "CA123", STREAM_SID, f"{CALL_SID}\\n"])
def test_a_start_without_a_usable_call_is_refused(sid):
    protocol = StreamProtocol()
    assert refused(protocol, START.replace(CALL_SID, sid)).reason == "start without a usable callSid"


def test_a_good_start_after_a_bad_one_begins_the_stream():
    protocol = StreamProtocol()
    refused(protocol, START.replace(CALL_SID, "x"))
    protocol.receive(START)
    assert protocol.state is State.STREAMING


# --- the numbers ------------------------------------------------------------------------------------------------------


def test_messages_of_every_kind_share_one_sequence(stream):
    for number, text in enumerate([MEDIA, DTMF, MARK, UNKNOWN, MEDIA, STOP], start=2):
        stream.receive(numbered(text, f'"{number}"'))
    assert (stream.sequence_gaps, stream.duplicates, stream.next_sequence) == (0, 0, 8)


@pytest.mark.parametrize("text", [MEDIA, MARK])
def test_numbers_that_never_came_are_counted(stream, text):
    stream.receive(numbered(text, '"5"'))
    assert (stream.sequence_gaps, stream.duplicates, stream.next_sequence) == (3, 0, 6)


@pytest.mark.parametrize("number", ['"0"', '"1"', '"2"'])
def test_a_number_that_comes_again_or_late_is_counted_and_its_message_taken(stream, number):
    stream.receive(MEDIA)
    assert isinstance(stream.receive(numbered(MEDIA, number)), MediaMessage)
    assert (stream.sequence_gaps, stream.duplicates, stream.next_sequence) == (0, 1, 3)


def test_a_message_without_a_number_is_not_counted(stream):
    assert isinstance(stream.receive(MEDIA.replace('"sequenceNumber":"2",', "")), MediaMessage)
    assert (stream.sequence_gaps, stream.duplicates, stream.next_sequence) == (0, 0, 2)


def test_a_wild_number_does_not_carry_the_count_away(stream):
    stream.receive(numbered(MEDIA, f'"{MAX_SEQUENCE_JUMP + 3}"'))
    stream.receive(MEDIA)
    assert (stream.sequence_gaps, stream.duplicates, stream.next_sequence) == (0, 0, 3)


def test_the_widest_gap_that_is_believed_is_half_an_hour(stream):
    stream.receive(numbered(MEDIA, f'"{MAX_SEQUENCE_JUMP + 2}"'))
    assert stream.sequence_gaps == MAX_SEQUENCE_JUMP


@pytest.mark.parametrize(("number", "following"), [('"1"', 2), ('"7"', 8), ('"0"', 2), ("null", 2)])
def test_the_sequence_begins_where_start_says(number, following):
    protocol = StreamProtocol()
    protocol.receive(START.replace('"sequenceNumber":"1"', f'"sequenceNumber":{number}'))
    assert (protocol.next_sequence, protocol.sequence_gaps) == (following, 0)


def test_a_number_before_start_is_not_counted():
    protocol = StreamProtocol()
    protocol.receive(UNKNOWN)
    assert (protocol.next_sequence, protocol.sequence_gaps) == (1, 0)


def test_a_message_of_another_stream_does_not_touch_our_numbers(stream):
    refused(stream, numbered(MEDIA, '"90"').replace(STREAM_SID, OTHER_SID))
    assert (stream.sequence_gaps, stream.next_sequence) == (0, 2)


def test_refusals_are_counted_by_kind_and_only_the_first_is_worth_a_line(stream):
    error = refused(stream, "junk")
    refused(stream, "more junk")
    refused(stream, "{}")
    assert (stream.rejected, stream.frames_rejected) == ({"json": 2, "shape": 1}, 3)
    assert not stream.reject(error)
    assert stream.reject(ProtocolError("binary", "a binary frame"))


@pytest.mark.parametrize("data", [b"\x00" * 7, b"", None])
def test_a_binary_frame_is_refused_and_counted_whatever_is_in_it(stream, data):
    with pytest.raises(ProtocolError, match=f"a binary frame of {len(data or b'')} bytes"):
        stream.receive_binary(data)
    assert stream.rejected == {"binary": 1}


@pytest.mark.parametrize("text", ["", "junk", "[", "{}", "[" * 60_000, "x" * 70_000, b"\xff", MARK[:-3], STOP[1:]])
def test_a_stream_goes_on_after_anything(stream, text):
    refused(stream, text)
    assert isinstance(stream.receive(MEDIA), MediaMessage)


def test_keys_are_a_flood_beyond_a_thousand_and_the_stream_goes_on(stream):
    for _ in range(MAX_KEYS):
        stream.receive(DTMF)
    assert refused(stream, DTMF).kind == "flood"
    assert refused(stream, DTMF).kind == "flood"
    assert isinstance(stream.receive(MEDIA), MediaMessage)


# --- what we send -----------------------------------------------------------------------------------------------------


def test_media_has_exactly_the_fields_that_twilio_wants(stream):
    begins = '{"event":"media","streamSid":"MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687","media":{"payload":"'
    assert stream.media(b"\xff" * 160) == begins + "/" * 213 + 'w=="}}'


def test_mark_has_exactly_the_fields_that_twilio_wants(stream):
    assert stream.mark("greeting-3") == (
        '{"event":"mark","streamSid":"MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687","mark":{"name":"greeting-3"}}'
    )


def test_clear_has_exactly_the_fields_that_twilio_wants(stream):
    assert stream.clear() == '{"event":"clear","streamSid":"MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687"}'


def test_the_name_of_a_mark_cannot_break_out_of_its_string(stream):
    name = '"},"event":"clear\\ \n ü🎵'
    assert json.loads(stream.mark(name)) == {"event": "mark", "streamSid": STREAM_SID, "mark": {"name": name}}


@pytest.mark.parametrize("size", [0, 1, 80, 159, 161, 240])
def test_audio_that_would_click_is_not_sent(stream, size):
    with pytest.raises(ValueError, match=f"multiples of 160 bytes, not {size}"):
        stream.media(bytes(size))


SENDING = {
    "media": lambda protocol: protocol.media(b"\xff" * 160),
    "mark": lambda protocol: protocol.mark("x"),
    "clear": lambda protocol: protocol.clear(),
}


@pytest.mark.parametrize("what", SENDING)
def test_nothing_is_sent_before_start(what):
    protocol = StreamProtocol()
    protocol.receive(CONNECTED)
    with pytest.raises(StateError, match=f"{what}: the stream is connected, not streaming"):
        SENDING[what](protocol)


@pytest.mark.parametrize("what", SENDING)
def test_nothing_is_sent_after_stop(stream, what):
    stream.receive(STOP)
    with pytest.raises(StateError, match=f"{what}: the stream is stopped"):
        SENDING[what](stream)


@pytest.mark.parametrize("what", SENDING)
def test_nothing_is_sent_on_a_start_stream(stream, what):
    stream.bidirectional = False
    with pytest.raises(StateError, match="<Connect> makes a bidirectional one"):
        SENDING[what](stream)


def test_a_start_stream_hears_both_tracks(stream):
    stream.bidirectional = False
    assert stream.receive(MEDIA).media.track == "inbound"
    assert stream.receive(MEDIA.replace('"inbound"', '"outbound"')).media.track == "outbound"
