"""`.env` gets a further handler, and is otherwise as it was."""

import stat

import pytest

from calls.management.dotenv import add_handler, handlers_in, with_handler


def added(text):
    return with_handler(text, "menu", "handlers.menu.menu")


def test_the_first_handler_is_a_line_at_the_end():
    assert added("SECRET_KEY=x\n") == "SECRET_KEY=x\nSTREAM_HANDLERS=menu=handlers.menu.menu\n"
    assert added("SECRET_KEY=x") == "SECRET_KEY=x\nSTREAM_HANDLERS=menu=handlers.menu.menu\n"
    assert added("") == "STREAM_HANDLERS=menu=handlers.menu.menu\n"


@pytest.mark.parametrize(
    ("line", "longer"),
    [
        ("STREAM_HANDLERS=a=b.c", "STREAM_HANDLERS=a=b.c,menu=handlers.menu.menu"),
        ("STREAM_HANDLERS=a=b.c,", "STREAM_HANDLERS=a=b.c,menu=handlers.menu.menu"),
        ("STREAM_HANDLERS=", "STREAM_HANDLERS=menu=handlers.menu.menu"),
        ("STREAM_HANDLERS='a=b.c'", "STREAM_HANDLERS='a=b.c,menu=handlers.menu.menu'"),
        ('export STREAM_HANDLERS="a=b.c,d=e.f"', 'export STREAM_HANDLERS="a=b.c,d=e.f,menu=handlers.menu.menu"'),
    ],
)
def test_a_further_one_follows_those_that_are_there(line, longer):
    assert added(f"A=1\n{line}\nB=2\n") == f"A=1\n{longer}\nB=2\n"
    assert handlers_in(longer) == {**handlers_in(line), "menu": "handlers.menu.menu"}


def test_a_line_that_is_commented_out_stays_so():
    text = "#STREAM_HANDLERS=pizza=handlers.pizza.pizza\n"
    assert added(text) == f"{text}STREAM_HANDLERS=menu=handlers.menu.menu\n"


def test_of_two_lines_it_is_the_one_that_counts():
    text = "STREAM_HANDLERS=a=b.c\nSTREAM_HANDLERS=d=e.f\n"
    assert handlers_in(added(text)) == {"d": "e.f", "menu": "handlers.menu.menu"}


def test_the_file_stays_its_owners_and_all_else_in_it_as_it_was(tmp_path):
    path = tmp_path / ".env"
    path.write_bytes("SECRET_KEY=ü\r\nSTREAM_HANDLERS=a=b.c\r\n# mine\r\n".encode())
    path.chmod(0o600)
    assert add_handler(path, "menu", "handlers.menu.menu")
    assert path.read_bytes() == "SECRET_KEY=ü\r\nSTREAM_HANDLERS=a=b.c,menu=handlers.menu.menu\r\n# mine\r\n".encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == [".env"]


def test_a_link_stays_one(tmp_path):
    real, link = tmp_path / "real", tmp_path / ".env"
    real.write_text("A=1\n")
    link.symlink_to(real)
    assert add_handler(link, "menu", "handlers.menu.menu")
    assert link.is_symlink()
    assert "menu" in real.read_text()


def test_what_cannot_be_changed_safely_is_left_alone(tmp_path):
    path = tmp_path / ".env"
    path.write_text("MINE=a=b.c\nSTREAM_HANDLERS=$MINE\n")
    before = path.read_text()
    assert not add_handler(path, "menu", "handlers.menu.menu")
    assert path.read_text() == before
