"""Keys and what is sealed with them: what opens, what does not, and why. No database."""

import base64

import pytest

from calls import vault
from calls.checks import check_keys
from calls.media.rows import decode, encode
from calls.recorder.packing import pack, unpack
from tests.support.batches import chunk, event, stream_row


FIRST, SECOND = (f"{name}:{base64.b64encode(byte * 32).decode()}" for name, byte in (("2026", b"\1"), ("2025", b"\2")))
AUDIO = bytes(range(160))


@pytest.fixture(autouse=True)
def keys(settings):
    settings.RECORDING_KEYS = [FIRST]


def test_what_is_sealed_opens_as_it_was_and_is_not_it():
    key = vault.new_key("MZ1")
    payload = vault.seal(key, "MZ1", "inbound", 320, AUDIO)
    assert AUDIO[:16] not in payload
    assert len(payload) == len(AUDIO) + vault.OVERHEAD
    assert vault.open_row(key, "MZ1", "inbound", 320, payload, 160) == AUDIO


def test_a_row_sealed_twice_has_another_nonce():
    key = vault.new_key("MZ1")
    one, two = (vault.seal(key, "MZ1", "inbound", 0, AUDIO) for _ in range(2))
    assert one[:12] != two[:12]


@pytest.mark.parametrize("place", [("MZ1", "outbound", 0), ("MZ1", "inbound", 160), ("MZ2", "inbound", 0)])
def test_a_row_that_was_moved_does_not_open(place):
    key = vault.new_key("MZ1")
    payload = vault.seal(key, "MZ1", "inbound", 0, AUDIO)
    with pytest.raises(vault.Unreadable):
        vault.open_row(key, *place, payload, 160)


@pytest.mark.parametrize("at", [0, 20, -1])
def test_a_row_of_which_a_byte_was_changed_does_not_open(at):
    key = vault.new_key("MZ1")
    payload = bytearray(vault.seal(key, "MZ1", "inbound", 0, AUDIO))
    payload[at] ^= 1
    with pytest.raises(vault.Tampered, match="inbound row at 0"):
        vault.open_row(key, "MZ1", "inbound", 0, bytes(payload), 160)


@pytest.mark.parametrize("payload", [AUDIO, b"", AUDIO + b"x" * vault.OVERHEAD])
def test_plain_audio_in_the_place_of_sealed_is_not_taken_for_it(payload):
    with pytest.raises(vault.Tampered):
        vault.open_row(vault.new_key("MZ1"), "MZ1", "inbound", 0, payload, 160)


def test_sealed_audio_whose_key_is_destroyed_is_not_taken_for_sound():
    payload = vault.seal(vault.new_key("MZ1"), "MZ1", "inbound", 0, AUDIO)
    with pytest.raises(vault.Tampered, match="no key"):
        vault.open_row("", "MZ1", "inbound", 0, payload, 160)


def test_a_missing_key_is_named_and_one_behind_the_first_still_unwraps(settings):
    key = vault.new_key("MZ1")
    settings.RECORDING_KEYS = [SECOND]
    with pytest.raises(vault.KeyMissing, match="“2026” is not in RECORDING_KEYS"):
        vault.check_key(key, "MZ1")
    settings.RECORDING_KEYS = [SECOND, FIRST]
    vault.check_key(key, "MZ1")
    assert vault.rewrap(key, "MZ1").startswith("2025:")


def test_a_key_with_the_right_name_and_other_bytes_is_as_good_as_missing_and_said_so(settings):
    key = vault.new_key("MZ1")
    settings.RECORDING_KEYS = [SECOND.replace("2025", "2026")]
    with pytest.raises(vault.KeyMissing, match="is not the key that it takes"):
        vault.check_key(key, "MZ1")


def test_only_a_stream_that_is_being_sealed_may_have_plain_rows_and_nobody_can_claim_that_it_is():
    partly, whole = vault.begin_sealing("MZ1"), vault.new_key("MZ1")
    assert vault.open_row(partly, "MZ1", "inbound", 0, AUDIO, 160) == AUDIO
    with pytest.raises(vault.Tampered):
        vault.open_row(vault.end_sealing(partly, "MZ1"), "MZ1", "inbound", 0, AUDIO, 160)
    with pytest.raises(vault.Unreadable):
        vault.check_key(f"{whole}:partly", "MZ1")


def test_rows_that_wait_on_disk_are_sealed_and_name_only_their_calls(settings):
    rows = [stream_row(), chunk(payload=AUDIO), event(data={"digit": "4711"})]
    packed = pack(rows)
    assert AUDIO[:16] not in packed
    assert b"4711" not in packed
    assert b"+15550100001" not in packed
    assert b"CA1" in packed
    assert b"MZ1" in packed
    assert unpack(packed) == rows
    settings.RECORDING_KEYS = []
    assert decode(pack(rows)) == rows


def test_what_waited_plain_before_there_were_keys_is_still_read():
    assert unpack(encode([chunk()])) == [chunk()]


@pytest.mark.parametrize("damage", [slice(0, 40), slice(0, -1)])
def test_a_damaged_box_cannot_be_read(damage):
    with pytest.raises(ValueError, match="box"):
        unpack(pack([chunk()])[damage])


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        (["2026:c2hvcnQ="], "“2026” has 5 bytes, and needs 32"),
        ([FIRST, FIRST], "two keys have the name “2026”"),
        ([FIRST.partition(":")[2]], "number 1 has no name"),
        (["2026:not base64!"], "“2026” is not base64"),
    ],
)
def test_a_key_that_cannot_be_used_is_said_at_start_without_what_it_holds(settings, keys, what):
    settings.RECORDING_KEYS = keys
    (message,) = check_keys()
    assert what in message.msg
    assert "openssl rand" in message.hint
    assert FIRST.partition(":")[2] not in message.msg
