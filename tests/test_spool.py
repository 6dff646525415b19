"""A spool keeps batches on disk, in order, for one process at a time."""

import fcntl

import pytest

from calls.recorder.spool import Spool, SpoolDamaged, SpoolFull, SpoolHeld, SpoolUnavailable, fingerprint, leftovers
from tests.support.disks import no_file_grows


MEGABYTE = 2**20


@pytest.fixture
def path(tmp_path):
    return tmp_path / "spool" / "db-1.spool"


@pytest.fixture
def spool(path):
    spool = Spool(path, MEGABYTE)
    yield spool
    spool.close()


def fill(path, *batches):
    spool = Spool(path, MEGABYTE)
    for batch in batches:
        spool.append(batch)
    spool.close()


def batches(spool, taken=None):
    """What a spool holds, taken out."""
    taken = [] if taken is None else taken
    for key, batch in spool:
        taken.append(batch)
        spool.remove(key, len(batch))
    return taken


def test_batches_come_out_in_the_order_they_went_in(spool):
    for batch in (b"one", b"two", b"three"):
        spool.append(batch)
    assert batches(spool) == [b"one", b"two", b"three"]


def test_a_batch_that_was_not_removed_comes_again(spool):
    spool.append(b"one")
    assert next(iter(spool))[1] == next(iter(spool))[1] == b"one"


def test_what_is_appended_while_it_is_read_comes_too(spool):
    spool.append(b"one")
    taken = []
    for key, batch in spool:
        taken.append(batch)
        spool.remove(key, len(batch))
        if len(taken) < 3:
            spool.append(b"more")
    assert taken == [b"one", b"more", b"more"]


def test_it_knows_its_size_when_it_is_opened_again(path):
    fill(path, b"12345", b"678")
    again = Spool(path, MEGABYTE)
    again.close()
    assert (again.size, again.count) == (8, 2)


def test_a_full_spool_takes_no_more(path):
    spool = Spool(path, 10)
    spool.append(b"12345678")
    with pytest.raises(SpoolFull):
        spool.append(b"123")
    assert batches(spool) == [b"12345678"]
    spool.close()


def test_an_urgent_batch_may_exceed_the_cap(path):
    spool = Spool(path, 10)
    spool.append(b"a gap says so", urgent=True)
    assert batches(spool) == [b"a gap says so"]
    spool.close()


def test_removing_makes_room(path):
    spool = Spool(path, 10)
    spool.append(b"12345678")
    batches(spool)
    spool.append(b"12345678")
    assert batches(spool) == [b"12345678"]
    spool.close()


def test_a_full_disk_is_a_full_spool(spool):
    spool._db.execute("PRAGMA max_page_count = 4")
    with pytest.raises(SpoolFull):
        spool.append(b"x" * 100_000)


def test_a_full_disk_is_named(path, spool):
    with no_file_grows(), pytest.raises(SpoolFull, match=str(path.parent)):
        spool.append(b"x")


def test_removing_needs_no_room(spool):
    spool.append(b"one")
    spool.append(b"two")
    with no_file_grows():
        assert batches(spool) == [b"one", b"two"]
    assert (spool.size, spool.count) == (0, 0)


def test_what_a_full_disk_did_not_delete_does_not_come_again(spool):
    spool.append(b"one")
    with no_file_grows():
        batches(spool)
    spool.append(b"two")
    assert batches(spool) == [b"two"]


def test_a_batch_that_follows_an_empty_spool_is_read(spool):
    for batch in (b"one", b"two", b"three"):
        spool.append(batch)
        assert batches(spool) == [batch]


def test_a_spool_that_a_full_disk_does_not_take_leaves_no_file(path):
    path.parent.mkdir()
    with no_file_grows(), pytest.raises(SpoolUnavailable):
        Spool(path, MEGABYTE)
    assert list(path.parent.iterdir()) == []


def test_room_is_kept_for_what_is_urgent(path, spool):
    spool.append(b"x")
    reserve = path.with_suffix(".reserve")
    assert reserve.stat().st_blocks * 512 >= 2**19
    with no_file_grows(), pytest.raises(SpoolFull):
        spool.append(b"a gap says so", urgent=True)
    assert not reserve.exists()


def test_an_empty_spool_leaves_no_file(path):
    Spool(path, MEGABYTE).close()
    assert list(path.parent.iterdir()) == []


def test_only_its_owner_can_read_the_file(path, spool):
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_spool_that_is_held_cannot_be_opened(path, spool):
    with pytest.raises(SpoolHeld):
        Spool(path, MEGABYTE)


def test_a_lock_that_was_deleted_meanwhile_holds_nothing(path, monkeypatch):
    real = fcntl.flock

    def late(fd, how):
        path.with_suffix(".lock").unlink()
        real(fd, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(SpoolHeld):
        Spool(path, MEGABYTE)


def test_leftovers_are_those_that_nobody_holds(path, spool):
    fill(path.with_name("db-2.spool"), b"left")
    found = [(left.path.name, batches(left), left.close()) for left in leftovers(path.parent, "db", MEGABYTE)]
    assert found == [("db-2.spool", [b"left"], None)]


def test_leftovers_of_another_database_are_not_ours(path):
    fill(path.with_name("other-1.spool"), b"left")
    assert list(leftovers(path.parent, "db", MEGABYTE)) == []


def test_a_process_s_second_file_comes_after_its_first(path):
    fill(path.with_name("db-1-last.spool"), b"second")
    fill(path, b"first")
    assert [[*batches(left), left.close()] for left in leftovers(path.parent, "db", MEGABYTE)] == [
        [b"first", None],
        [b"second", None],
    ]


def test_a_folder_that_is_not_there_has_no_leftovers(tmp_path):
    assert list(leftovers(tmp_path / "none", "db", MEGABYTE)) == []


def test_a_file_that_is_not_a_spool_is_set_aside(path, caplog):
    path.parent.mkdir()
    path.write_bytes(b"this is not SQLite at all" * 100)
    assert list(leftovers(path.parent, "db", MEGABYTE)) == []
    assert [file.name for file in path.parent.iterdir()] == ["db-1.damaged"]
    assert "spool_unreadable" in caplog.text


def test_a_file_that_cannot_be_opened_now_stays_and_is_named_once(path, caplog):
    path.mkdir(parents=True)
    told = set()
    for _ in range(3):
        assert list(leftovers(path.parent, "db", MEGABYTE, told)) == []
    assert path.exists()
    assert caplog.text.count("spool_unavailable") == 1


def test_a_torn_file_gives_what_is_whole_and_then_an_error(path):
    whole = [bytes([n]) * 3000 for n in range(1, 40)]
    fill(path, *whole)
    data = path.read_bytes()
    path.write_bytes(data[:-40960] + b"\xee" * 40960)
    spool, taken = Spool(path, MEGABYTE), []
    with pytest.raises(SpoolDamaged):
        batches(spool, taken)
    spool.rename_damaged()
    assert taken == whole[: len(taken)]
    assert len(taken) > 10
    assert [file.name for file in path.parent.iterdir()] == ["db-1.damaged"]


POSTGRES = {"ENGINE": "postgresql", "HOST": "db", "PORT": "", "NAME": "calls", "USER": "u", "PASSWORD": "secret"}


def test_a_fingerprint_does_not_depend_on_the_password():
    assert fingerprint(POSTGRES) == fingerprint({**POSTGRES, "PASSWORD": "other"})


@pytest.mark.parametrize("other", [{"HOST": "db2"}, {"PORT": "5433"}, {"NAME": "calls2"}, {"ENGINE": "sqlite3"}])
def test_a_fingerprint_tells_databases_apart(other):
    assert fingerprint(POSTGRES) != fingerprint({**POSTGRES, **other})
