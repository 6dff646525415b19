"""Which texts are phone numbers, and what is left of them."""

import pytest

from calls.masking import masked


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("+14155550123", "+1••••••0123"),
        ("from +442071234567, who", "from +44••••••4567, who"),
        ("+4930123", "+49•••23"),
        ("sip:+14155550123@example.org", "sip:+1••••••0123@example.org"),
        ("whatsapp:+14155550123", "whatsapp:+1••••••0123"),
        ("+1 (415) 555-0123 rang", "+1••••••0123 rang"),
        ("+49(0)30/1234567", "+49••••••4567"),
        ("?q=%2B14155550123&p=1", "?q=%2B1••••••0123&p=1"),
        ("%252B49%2030%201234567", "%252B49•••••4567"),
        (r"'\uff0b14155550123'", r"'\uff0b1••••••0123'"),
        ("＋14155550123", "＋1••••••0123"),
        ("+٤٩٣٠١٢٣٤٥٦٧", "+٤٩•••••٤٥٦٧"),
        ("&#43;14155550123", "&#43;1••••••0123"),
        ("3+14155550123", "3+1••••••0123"),
        ("{'From': '14155550123'}", "{'From': '1••••••0123'}"),
        ('{"caller_id": "+14155550123"}', '{"caller_id": "+1••••••0123"}'),
        ("to=14155550123 by=4", "to=1••••••0123 by=4"),
        ("+14155550123+14155550124", "+1••••••0123+1••••••0124"),
        ("+" + "1" * 40, "+1" + "•" * 35 + "1111"),
    ],
)
def test_a_number_keeps_its_country_and_its_last_digits(text, left):
    assert masked(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "CA01234567890123456789012345678901 MZ12345678901234567890123456789012",
        "2026-11-27T14:03:07.123456+00:00",
        "2026-11-27 14:03:07+1300 12345678 bytes",
        "2026-11-27 14:03:07,123 at 1764252187.123456",
        "bytes=1048576000 n=12345678901",
        "to=127.0.0.1:8000 to=10.20.30.40:28000",
        "handler+0x1234567 in 3+4",
        "after +12.5 s",
        "",
    ],
)
def test_sids_moments_and_sizes_stay_as_they_are(text):
    assert masked(text) == text


def test_what_was_masked_stays_as_it_is():
    assert masked(masked("+14155550123")) == "+1••••••0123"


@pytest.mark.parametrize("text", ["+1(((" * 60_000, "+" * 300_000, "from=" * 60_000, "+49 3 " * 2 + "x" * 300_000])
def test_what_only_begins_as_a_number_is_given_up_soon(text):
    # A pattern that tries everything would not be done before the tests are.
    assert masked(text) == text
