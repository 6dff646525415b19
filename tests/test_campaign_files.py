"""Files of numbers as people have them: what is read, and what is said to be wrong, with its line."""

import os

import pytest

from calls.campaigns.numbers_file import Line, WrongFile, read
from calls.campaigns.quiet import QuietHours


@pytest.fixture
def numbers(tmp_path):
    """Writes a file, and reads it."""

    def write(text, written="utf-8", **how):
        path = tmp_path / "numbers.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode(written))
        return read(path, **how)

    return write


def wrong(numbers, text, **how):
    with pytest.raises(WrongFile) as raised:
        numbers(text, **how)
    return raised.value.sentences


def test_a_number_and_what_the_handler_is_told(numbers):
    found = numbers("number,name,order\n+1 (415) 555-0100,Ada,17\n")
    assert found.columns == ["name", "order"]
    assert found.lines == [Line(2, "+14155550100", {"name": "Ada", "order": "17"})]


@pytest.mark.parametrize("header", ["to", "Number", " NUMBER "])
def test_the_column_of_numbers_has_several_names(numbers, header):
    assert numbers(f"name,{header}\nAda,+14155550100\n").lines[0].number == "+14155550100"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("number;name\r\n+14155550100;Ümit, Jr.\r\n", "utf-8-sig"),
        ("sep=;\r\nnumber;name\r\n+14155550100;Ümit, Jr.\r\n", "utf-8"),
        ("number\tname\n+14155550100\tÜmit, Jr.\n", "utf-8"),
        ('number,name\n+14155550100,"Ümit, Jr."\n', "utf-8"),
    ],
)
def test_it_is_read_as_spreadsheets_of_any_country_write_it(numbers, text, encoding):
    assert numbers(text, written=encoding).lines[0].columns == {"name": "Ümit, Jr."}


def test_another_encoding_has_to_be_named(numbers):
    text = "number;name\n+14155550100;Ümit\n".encode("cp1252")
    assert wrong(numbers, text) == [
        "numbers.csv is not UTF-8 (line 2): save it as “CSV UTF-8”, or say how it is encoded, like --encoding cp1252."
    ]
    assert numbers(text, encoding="cp1252").lines[0].columns == {"name": "Ümit"}


def test_the_digest_is_of_what_it_says_and_not_of_how_it_is_written(numbers):
    one = numbers("number,name\n+14155550100,Ada\n")
    other = numbers('"number";"name"\r\n"+1 415 555 0100";Ada\r\n', "utf-8-sig")
    assert one.digest("echo") == other.digest("echo") != one.digest("survey")


def test_an_empty_cell_says_nothing_to_a_handler(numbers):
    assert numbers("number,name,order\n+14155550100,,17\n").lines[0].parameters == {"order": "17"}


def test_lines_are_counted_as_an_editor_does(numbers):
    found = numbers('number,note\n\n+14155550100,"two\nlines"\n+14155550101,\n')
    assert [line.line for line in found.lines] == [3, 5]


def test_our_own_results_can_be_read_again(numbers):
    assert numbers("number\n'+14155550100\n").lines[0].number == "+14155550100"


def test_a_national_number_is_of_the_country_that_is_called_from(numbers):
    assert numbers("number\n030 12345678\n", near="+493011111111").lines[0].number == "+493012345678"


def test_all_wrong_lines_are_named_at_once(numbers):
    assert wrong(numbers, "number,name\n+1415,Ada\n+14155550100,\nmy mother,\n,Bob\n4.91512E+11,\n") == [
        "line 2: “+1415” cannot be called: it has too few digits. "
        "Write it with + and its country code, like +14155550100.",
        "line 4: “my mother” cannot be called: it is not a number. "
        "Write it with + and its country code, like +14155550100.",
        "line 5: there is no number.",
        "line 6: “4.91512E+11” is what a spreadsheet makes of a number: format the column as text first.",
    ]


def test_a_number_that_is_there_twice_is_wrong_unless_that_is_meant(numbers):
    text = "number\n+14155550100\n+1 415 555 0100\n"
    assert wrong(numbers, text) == ["line 3: +14155550100 is in line 2 already; --allow-duplicates calls it twice."]
    assert len(numbers(text, allow_duplicates=True).lines) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "numbers.csv is empty."),
        ("number\n", "numbers.csv has no line below its header."),
        ("+14155550100\n", "numbers.csv has no column called number (or to): its first line names the columns"),
        ("number,to\n1,2\n", "numbers.csv has more than one column called number"),
        ("number,a,a\n1,2,3\n", "numbers.csv has two columns called a."),
        ("number,token\n1,2\n", "line 1: A parameter cannot be named 'token'."),
        ("number,\n+14155550100,x\n", "line 2: “x” stands in a column without a name."),
        ("number\n+14155550100,x\n", "line 2: “x” stands in a column without a name."),
        (f"number,a\n+14155550100,{'x' * 600}\n", "line 2: The parameter a is too long"),
        ('number,a\n+14155550100,"' + "x\n" * 70_000, "line 2: this is no CSV (field larger than field limit"),
        (
            'number,a\n+14155550100,"x\n+14155550101,y\n',
            "line 2: this is no CSV (unexpected end of data): is a quotation",
        ),
    ],
)
def test_what_cannot_be_used_is_said(numbers, text, said):
    assert wrong(numbers, text)[0].startswith(said)


def test_a_file_whose_name_is_no_utf_8_is_read(tmp_path):
    path = tmp_path / os.fsdecode(b"k\xfcnde.csv")
    path.write_text("number\n+14155550100\n")
    assert read(path).name == "k\ufffdnde.csv"


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(WrongFile, match="cannot be read: No such file"):
        read(tmp_path / "none.csv")


def test_a_number_that_could_never_be_called_is_wrong(numbers):
    (said,) = wrong(numbers, "number\n+79161234567\n", hours=QuietHours.parse("09:00-08:00"))
    assert said.startswith("line 2: at no hour it is not quiet (09:00–08:00) in one of the ")
