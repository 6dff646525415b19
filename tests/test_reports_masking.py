"""Reports tell no tokens, and hold nothing that a reader of theirs cannot hold."""

from dataclasses import dataclass

import pytest

from simulator.reports.masking import masked, masked_text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("POST https://h/voice?tenant=7&token=s3cr3t", "POST https://h/voice?tenant=7&token=…"),
        ("https://h/after?a=1&amp;Access_Token=s3cr3t'>", "https://h/after?a=1&amp;Access_Token=…'>"),
        ("https://user:s3cr3t@h/voice", "https://h/voice"),
        ('{"customParameters":{"token":"s3\\"cr3t"},"a":"b"}', '{"customParameters":{"token":"…"},"a":"b"}'),
        ('<Parameter name="token" value="s3cr3t"/>', '<Parameter name="token" value="…"/>'),
        ("<Parameter value='s3cr3t' name='apiKey'/>", "<Parameter value=\"…\" name='apiKey'/>"),
        ('<Parameter name="language" value="de"/>', '<Parameter name="language" value="de"/>'),
    ],
)
def test_a_token_is_hidden_wherever_it_stands(text, told):
    assert masked_text(text) == told


def test_what_signs_is_hidden_even_where_nothing_says_what_it_is():
    assert masked_text("checked with 0123abcd", "0123abcd", "") == "checked with …"


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\x7f", "\x9b", "\ud800", "\ufffe"])
def test_what_xml_or_a_terminal_cannot_hold_is_replaced(character):
    assert masked_text(f"a{character}b\n\tµ😀") == "a\ufffdb\n\tµ😀"


@dataclass(frozen=True)
class Held:
    texts: list[str]
    parameters: dict[str, object]


def test_however_deep_it_lies_it_is_found():
    held = Held(["https://h?token=1"], {"token": "s3cr3t", "language": "de", "sent": b"\x00", "more": ("a\x00", 1)})
    parameters = {"token": "…", "language": "de", "sent": b"\x00", "more": ("a\ufffd", 1)}
    assert masked(held) == Held(["https://h?token=…"], parameters)


def test_a_long_document_takes_no_longer_than_it_is_long():
    assert masked_text('<Parameter name="token" ' * 3000).count("token") == 3000
