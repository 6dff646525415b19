"""The TwiML that we answer with, as the XML that Twilio reads."""

from urllib.parse import urlsplit
from xml.etree import ElementTree

import pytest
from twilio.twiml.voice_response import VoiceResponse

from calls import twiml
from calls.twiml import StreamNoun


def noun(**facts: object) -> StreamNoun:
    def sign(bidirectional: bool) -> str:
        return "for both ways" if bidirectional else "for listening"

    return StreamNoun(**{"sign": sign, "name": "voicemail", "parameters": {}, **facts})


def parsed(document: object) -> ElementTree.Element:
    return ElementTree.fromstring(str(document))


def test_connect_opens_one_stream_whose_url_has_no_query():
    stream = parsed(noun().connect()).find("Connect/Stream")
    assert stream.attrib == {
        "url": "wss://voice.example.org/connection",
        "name": "voicemail",
        "statusCallback": "https://voice.example.org/stream-status",
    }


def test_connect_asks_us_how_the_call_goes_on():
    action = urlsplit(parsed(noun().connect()).find("Connect").get("action"))
    assert (action.scheme, action.netloc, action.path) == ("https", "voice.example.org", "/stream-ended")


def test_the_token_of_connect_is_for_both_ways():
    assert parameters(noun().connect()) == {"token": "for both ways"}


def test_the_token_of_start_is_for_listening():
    assert parameters(noun().start()) == {"token": "for listening"}


def parameters(document: object) -> dict[str, str]:
    return {found.get("name"): found.get("value") for found in parsed(document).iter("Parameter")}


def test_start_listens_to_both_people_and_has_no_action():
    start = parsed(noun().start()).find("Start")
    assert start.attrib == {}
    assert start.find("Stream").get("track") == "both_tracks"


def test_start_can_listen_to_one_track():
    assert parsed(noun().start(track="outbound_track")).find("Start/Stream").get("track") == "outbound_track"


def test_connect_names_no_track_since_twilio_refuses_all_but_one():
    assert "track" not in parsed(noun().connect()).find("Connect/Stream").attrib


@pytest.mark.parametrize("verb", [StreamNoun.connect, StreamNoun.start])
def test_a_stream_is_added_after_what_a_handler_has_written(verb):
    response = VoiceResponse()
    response.say("Hello")
    assert verb(noun(), response) is response
    assert [child.tag for child in parsed(response)] == ["Say", verb.__name__.title()]


def test_what_xml_does_not_allow_is_left_out_of_what_a_handler_is_told():
    said = {"CallerName": "A\x01B\x00\ud800\ufffe", "k\x1b": "ü 🎵\n"}
    assert parameters(noun(custom=said).connect()) == {"token": "for both ways", "CallerName": "AB", "k": "ü 🎵\n"}


def test_what_xml_does_not_allow_is_left_out_of_a_last_sentence():
    assert parsed(twiml.goodbye("Good\x01bye.")).find("Say").text == "Goodbye."


@pytest.mark.parametrize("name", ['"/><Dial>+15550100001</Dial>', "a&b", "<!--", "]]>", "ü 🎵"])
def test_no_name_breaks_out_of_its_attribute(name):
    document = parsed(noun(name=name).connect())
    assert document.find("Connect/Stream").get("name") == name
    assert [element.tag for element in document.iter()] == ["Response", "Connect", "Stream", "Parameter"]


def test_hanging_up_is_one_verb():
    assert [child.tag for child in parsed(twiml.hang_up())] == ["Hangup"]


def test_an_apology_is_said_before_the_call_ends():
    document = parsed(twiml.apologise())
    assert [child.tag for child in document] == ["Say", "Hangup"]
    assert document.find("Say").text == twiml.APOLOGY


def test_a_call_whose_handler_failed_ends_with_the_apology():
    assert twiml.failed_handler() == twiml.apologise()


def test_a_call_whose_handler_failed_ends_as_the_settings_say(settings):
    settings.FAILED_HANDLER_TWIML = "<Response><Redirect>/fallback</Redirect></Response>"
    assert twiml.failed_handler() == settings.FAILED_HANDLER_TWIML


CONNECT = "<Connect><Stream url='wss://x'/></Connect>"
START = "<Start><Stream url='wss://x'/></Start>"


@pytest.mark.parametrize(
    "verbs",
    [
        "<Dial>+15550100001</Dial>",
        START + "<Dial>+15550100001</Dial>",
        "<Enqueue>support</Enqueue>" + CONNECT,
        "<Say>All of us are busy.</Say>" + CONNECT,
        "<Gather><Say>Press 1.</Say></Gather>" + CONNECT,
        "<Pause length='90'/>" + CONNECT,
        START + "<Play>https://x/music.mp3</Play>",
        "<Redirect>https://other.example.org/</Redirect>",
        "<Record maxLength='3600'/>",
        "<Say>Press 1.</Say><Gather action='https://other.example.org/'/>",
        "<Play>https://x/music.mp3</Play>",
        "<Pause length='600'/>",
        "<Connect><ConversationRelay url='wss://x'/></Connect>",
    ],
)
def test_a_call_lives_on_without_a_stream_if_its_document_has_something_else_for_it(verbs):
    assert twiml.lives_on(f"<Response>{verbs}</Response>")


@pytest.mark.parametrize(
    "verbs",
    [
        CONNECT,
        CONNECT + "<Say>Never said: there is an action.</Say>",
        START + CONNECT,
        "<Pause length='1'/>" + CONNECT,
        "<Say>&lt;Dial></Say><Hangup/>",
        "<Pause length='1'/><Hangup/>",
        "<Connect/>",
        "<Reject/>",
    ],
)
def test_a_call_does_not_live_on_without_a_stream_otherwise(verbs):
    assert not twiml.lives_on(f"<Response>{verbs}</Response>")


def test_a_document_that_is_not_xml_is_searched_for_a_dial():
    assert twiml.lives_on("<Response><Dial>+1")


def test_every_document_is_declared_as_utf_8():
    for document in (twiml.hang_up(), twiml.apologise(), str(noun().connect())):
        assert document.startswith('<?xml version="1.0" encoding="UTF-8"?>')
