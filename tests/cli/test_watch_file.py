"""The CSV of expected attempts: what is read, what is refused with its line, and that nothing is swallowed."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import click
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.cli.watch_file import document, read_lines

HEAD = b"stream,result,label\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "expected.csv"


def refusal(file: Path, content: bytes) -> str:
    file.write_bytes(content)
    with pytest.raises(click.ClickException) as caught:
        read_lines(file)
    return caught.value.message.removeprefix(str(file))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEAD + b'link,7,"HR-7\nlink,8,HR-8\n', ":2: a quoted cell does not end in its line. Close the quote"),
        (HEAD + b'link,7,"HR-7\nlink,8,"HR-8"\n', ":2: a quoted cell does not end in its line"),
        (HEAD + b'link,7,HR-7\nlink,8,"HR\n-8"\n', ":3: a quoted cell does not end in its line"),
        (HEAD + b'link,7,"HR"7\n', ":2: ',' expected after '\"'. Close the quote, or double it"),
        (b'stream,"result\nlink,7\n', ":1: a quoted cell does not end in its line"),
        (b"stream,result,result\nlink,7,8\n", ':1: two columns have the heading "result". Rename or remove one'),
        (b"stream,result, result \nlink,7,\n", ':1: two columns have the heading "result"'),
        (b"stream,result\nlink,7,8\n", ":2: more cells than the header has: 3 instead of 2"),
        (b"stream,result,\nlink,7,8\n", ":2: cell 3 is in a column without a heading"),
        (b"stream;result\nlink;7\n", ":1: the cells are separated by ';'. Save the file with commas"),
        (b"stream\tresult\nlink\t7\n", ":1: the cells are separated by '\\t'. Save the file with commas"),
        (HEAD + b"link,7,caf\xe9\n", ": not UTF-8 at byte "),
        (HEAD.decode().encode("utf-16"), ": not UTF-8 at byte 0. Save it as UTF-8"),
        (HEAD + b"link,7," + b"x" * 200_000 + b"\n", ":2: field larger than field limit"),
        (b"a\x1b[31m,a\x1b[31m\n", ':1: two columns have the heading "a\\x1b[31m"'),
    ],
)
def test_a_file_that_is_not_well_formed_is_refused_with_its_line(file: Path, content: bytes, message: str) -> None:
    refused = refusal(file, content)
    assert refused.startswith(message)
    assert refused.endswith("nothing was registered") or "UTF-8" in refused


@pytest.mark.parametrize(
    "content",
    [
        HEAD + b"link,7,HR-7\n",
        b"\xef\xbb\xbf" + HEAD + b"link,7,HR-7",
        HEAD.replace(b"\n", b"\r\n") + b"link,7,HR-7\r\n\r\n",
        HEAD.replace(b"\n", b"\r") + b"link,7,HR-7\r",
        b'"stream", result ,"label"\n link ,7 , HR-7 \n',
        b"stream,result,label,,\nlink,7,HR-7,,\n,,,,\n,,,,,,,\n",
        HEAD + b"link,7,HR-7,,,\n,,\n",
        HEAD + b'"link","7","HR-7"\n',
    ],
)
def test_what_spreadsheets_make_of_a_file_is_read_all_the_same(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    (line,) = read_lines(file)
    assert (line.number, line.cells) == (2, {"stream": "link", "result": "7", "label": "HR-7"})


def test_lines_keep_their_numbers_and_empty_cells_are_absent(file: Path) -> None:
    file.write_bytes(HEAD + b'\nlink,7,\n,,\nlink,8,"a ""b"", c"\n')
    assert [(line.number, line.cells) for line in read_lines(file)] == [
        (3, {"stream": "link", "result": "7"}),
        (5, {"stream": "link", "result": "8", "label": 'a "b", c'}),
    ]


@pytest.mark.parametrize("content", [b"", b"\n\n", HEAD, HEAD + b",,\n"])
def test_a_file_without_a_line_below_the_header_has_none(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert read_lines(file) == []


def test_the_column_source_wins_and_the_other_own_columns_are_no_reference() -> None:
    cells = {"source": "us", "due": "2030-01-01", "label": "x", "result": "7"}
    assert document(cells, "eu") == {"source": "us", "due": "2030-01-01", "label": "x", "reference": {"result": "7"}}
    assert document({"result": "7"}, "eu") == {"source": "eu", "reference": {"result": "7"}}


cells = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=6) | st.sampled_from(
    ['"', '""', ',"', 'a"b', ","]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.lists(cells, min_size=2, max_size=2), max_size=4))
def test_what_a_csv_writer_writes_is_read_cell_by_cell(file: Path, rows: list[list[str]]) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([["a", "b"], *rows])
    file.write_bytes(text.getvalue().encode())
    wanted = [{name: cell.strip() for name, cell in zip("ab", row, strict=True) if cell.strip()} for row in rows]
    assert [line.cells for line in read_lines(file)] == [row for row in wanted if row]
