"""`manage.py configure_number` against the simulator's REST API."""

import pytest
from django.core.management import CommandError, call_command

from simulator import PhoneNumber, TwilioApi


ACCOUNT = "AC3f0c6a1d2b4e58790f1e2d3c4b5a6978"
TOKEN = "0123456789abcdef0123456789abcdef"
MAIN = "+14155550199"


@pytest.fixture
def api(settings):
    numbers = [
        PhoneNumber("+141555501990", friendly_name="A longer one"),
        PhoneNumber(MAIN, friendly_name="Main line", voice_url="https://demo.twilio.com/welcome", voice_method="GET"),
    ]
    with TwilioApi(ACCOUNT, TOKEN, numbers).running() as api:
        settings.TWILIO_API_URL = api.url
        yield api


def main(api):
    return api.numbers[1]


def test_it_points_a_number_here_and_says_what_it_was_before(api, capsys):
    call_command("configure_number", MAIN)
    assert main(api).voice_url == "https://voice.example.org/incoming"
    assert (main(api).voice_method, main(api).status_callback) == ("POST", "https://voice.example.org/call-status")
    out = capsys.readouterr().out
    assert "+14155550199 (Main line)" in out
    assert "VoiceUrl: https://demo.twilio.com/welcome -> https://voice.example.org/incoming" in out
    assert "VoiceMethod: GET -> POST" in out
    assert "Its calls come here now." in out


def test_a_request_that_fails_is_asked_again_at_the_same_address(api, capsys):
    call_command("configure_number", MAIN, handler="echo")
    assert main(api).voice_fallback_url == "https://voice.example.org/incoming/echo"
    assert "VoiceFallbackUrl: (empty) -> https://voice.example.org/incoming/echo" in capsys.readouterr().out


def test_the_fallback_may_be_somewhere_else(api):
    call_command("configure_number", MAIN, fallback="https://handler.twilio.com/twiml/sorry")
    assert main(api).voice_fallback_url == "https://handler.twilio.com/twiml/sorry"


def test_a_fallback_of_somebody_elses_is_kept(api, capsys):
    main(api).voice_fallback_url, main(api).voice_fallback_method = "https://handler.twilio.com/twiml/sorry", "GET"
    call_command("configure_number", MAIN)
    assert main(api).voice_fallback_url == "https://handler.twilio.com/twiml/sorry"
    assert main(api).voice_fallback_method == "GET"
    assert "VoiceFallbackUrl: https://handler.twilio.com/twiml/sorry, as it is" in capsys.readouterr().out


def test_a_fallback_of_ours_follows_the_number(api):
    for handler in "echo", "voicemail":
        call_command("configure_number", MAIN, handler=handler)
    assert main(api).voice_fallback_url == "https://voice.example.org/incoming/voicemail"


def test_it_takes_the_number_exactly_although_twilio_finds_parts_too(api):
    call_command("configure_number", MAIN)
    assert api.numbers[0].voice_url == ""


def test_the_number_may_be_written_as_people_write_it(api):
    call_command("configure_number", "+1 (415) 555-0199")
    assert main(api).voice_url == "https://voice.example.org/incoming"


def test_a_handler_goes_into_the_address(api):
    call_command("configure_number", MAIN, handler="echo")
    assert main(api).voice_url == "https://voice.example.org/incoming/echo"


def test_a_handler_that_does_not_exist_is_refused_before_twilio_is_asked(api):
    with pytest.raises(CommandError, match="no handler 'ecko'; there are echo, monitor, realtime, voicemail"):
        call_command("configure_number", MAIN, handler="ecko")
    assert api.requests == []


def test_a_dry_run_changes_nothing(api, capsys):
    call_command("configure_number", MAIN, dry_run=True)
    assert main(api).voice_url == "https://demo.twilio.com/welcome"
    assert "-> https://voice.example.org/incoming" in (out := capsys.readouterr().out)
    assert "this is a dry run" in out


def test_a_number_that_points_here_already_is_said_to(api, capsys):
    call_command("configure_number", MAIN)
    call_command("configure_number", MAIN)
    assert "Nothing had to be changed." in capsys.readouterr().out


def test_an_application_and_a_trunk_that_override_the_address_are_warned_of(api, capsys):
    main(api).voice_application_sid, main(api).trunk_sid = "AP1", "TK1"
    call_command("configure_number", MAIN)
    err = capsys.readouterr().err
    assert "TwiML application AP1 answers this number" in err
    assert "SIP trunk TK1 answers this number" in err


def test_a_number_of_somebody_else_is_not_found(api):
    with pytest.raises(CommandError, match="no number \\+4930555: write it as the Console does"):
        call_command("configure_number", "+4930555")


def test_a_part_of_a_number_is_answered_with_whole_ones(api):
    with pytest.raises(CommandError, match="Did you mean \\+141555501990 or \\+14155550199\\?"):
        call_command("configure_number", "+1415555019")


def test_all_numbers_are_listed_with_where_they_point(api, capsys):
    main(api).voice_url = "https://voice.example.org/incoming/echo"
    call_command("configure_number", list=True)
    assert capsys.readouterr().out.splitlines() == [
        "+141555501990 (A longer one): no VoiceUrl",
        "+14155550199 (Main line): here, https://voice.example.org/incoming/echo",
    ]


def test_numbers_on_several_pages_are_all_listed(api, capsys):
    api.numbers = [PhoneNumber(f"+1415556{n:04}") for n in range(1001)]
    call_command("configure_number", list=True)
    assert len(capsys.readouterr().out.splitlines()) == 1001


def test_an_account_without_numbers_says_so(api, capsys):
    api.numbers = []
    call_command("configure_number", list=True)
    assert capsys.readouterr().out == "This account has no numbers.\n"


@pytest.mark.parametrize("options", [{}, {"number": MAIN, "list": True}])
def test_a_number_or_the_list_is_asked_for(options):
    with pytest.raises(CommandError, match="Name a number, like \\+14155550199, or say --list"):
        call_command("configure_number", *([options.pop("number")] if "number" in options else []), **options)


def test_what_twilio_refuses_is_said_in_words(api, settings):
    settings.TWILIO_AUTH_TOKENS = ["f" * 32]
    with pytest.raises(CommandError, match="Twilio does not accept our credentials"):
        call_command("configure_number", MAIN)


def test_an_address_that_twilio_cannot_use_is_said_in_words(api, settings):
    settings.PUBLIC_URL = "ftp://voice.example.org"
    with pytest.raises(CommandError, match=r"PUBLIC_URL has to be an https origin.* Twilio says 21402"):
        call_command("configure_number", MAIN)
