"""Where an answer ends, however its bytes are cut, and what is no answer."""

from __future__ import annotations

import io
from http.client import HTTPException, HTTPResponse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.net.http_answer import Answer, AnswerReader

LIMIT = 64
OK = b"HTTP/1.1 200 OK\r\n"
HINTS = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def read(data: bytes, *, cut: int = 0) -> tuple[Answer | None, bool]:
    """(the answer if it is complete, whether the connection can be kept)."""
    reader = AnswerReader(LIMIT)
    parts = [data[:cut], data[cut:]] if cut else [data]
    complete = [reader.feed(part) for part in parts][-1]
    return (reader.answer() if complete else None), reader.reusable


@pytest.mark.parametrize(
    ("data", "body", "kept"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", b"", True),
        (OK + b"Content-Length: 2\r\n\r\nok", b"ok", True),
        (OK + b"Content-Length: 2, 2\r\n\r\nok", b"ok", True),
        (OK + b"content-length:2\n\nok", b"ok", True),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok", False),
        (OK + b"Connection: Close\r\nContent-Length: 2\r\n\r\nok", b"ok", False),
        (OK + b"Content-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n", b"ok", False),
        (OK + b"Content-Length: 64\r\n\r\n" + b"x" * 64, b"x" * 64, True),
        (OK + b"Content-Length: 66\r\n\r\n" + b"x" * 65, b"x" * 64, False),
        (OK + b"\r\n" + b"x" * 65, b"x" * 64, False),
        (CHUNKED + b"2\r\nok\r\n0\r\n\r\n", b"ok", True),
        (CHUNKED + b"1;a=b\r\no\r\n01\r\nk\r\n0\r\nTrailer: x\r\n\r\n", b"ok", True),
        (CHUNKED + b"0\r\n\r\n", b"", True),
        (OK + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"", False),
        (CHUNKED + b"fffffff\r\n" + b"x" * 70, b"x" * 64, False),
        (
            HINTS + OK + b"Content-Length: 0\r\n\r\n",
            b"",
            True,
        ),
    ],
)
def test_an_answer_ends_where_its_framing_says_however_it_is_cut(data: bytes, body: bytes, kept: bool) -> None:
    answer, reusable = read(data)
    assert answer is not None
    assert (answer.body, reusable) == (body, kept)
    if kept:
        assert [read(data, cut=cut) for cut in range(1, len(data))] == [(answer, True)] * (len(data) - 1)


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        OK + b"x" * 70_000,
        OK + b"A: b\r\n" * 101 + b"\r\n",
        CHUNKED + b"zz\r\n",
        CHUNKED + b"-1\r\n",
        CHUNKED + b"1" * 70_000,
    ],
)
def test_what_is_no_answer_is_refused(data: bytes) -> None:
    with pytest.raises(HTTPException):
        read(data)


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    for head in (OK, OK + b"Content-Length: many\r\n", OK + b"Content-Length: 1\r\nContent-Length: 2\r\n"):
        reader = AnswerReader(LIMIT)
        assert not reader.feed(head + b"\r\nok")
        reader.end()
        assert (reader.answer().body, reader.reusable) == (b"ok", False)


@pytest.mark.parametrize("data", [OK, OK + b"Content-Length: 5\r\n\r\nok", CHUNKED + b"5\r\nok"])
def test_a_connection_that_ends_in_the_middle_of_an_answer_is_a_failure(data: bytes) -> None:
    reader = AnswerReader(LIMIT)
    assert not reader.feed(data)
    with pytest.raises(HTTPException):
        reader.end()


def test_a_connection_that_ends_before_the_answer_is_an_error_of_the_connection() -> None:
    with pytest.raises(ConnectionError):
        AnswerReader(LIMIT).end()


def test_names_are_in_lower_case_and_repeated_headers_are_joined() -> None:
    answer, _ = read(OK + b"X-A: 1\r\nx-a: 2\r\nno header\r\nX-B: long\r\n  line\r\nContent-Length: 0\r\n\r\n")
    assert answer is not None
    assert answer.headers == {"x-a": "1, 2", "x-b": "long line", "content-length": "0"}


class _Socket:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_: object) -> io.BytesIO:
        return io.BytesIO(self._data)


_BODY = st.binary(max_size=60)


@given(
    body=_BODY,
    sizes=st.lists(st.integers(1, 20), max_size=8),
    chunked=st.booleans(),
    status=st.sampled_from([200, 201, 400, 404, 410, 500]),
    rest=_BODY,
    cuts=st.lists(st.integers(0, 200), max_size=5),
)
def test_answers_are_read_as_the_standard_library_reads_them(
    body: bytes, sizes: list[int], chunked: bool, status: int, rest: bytes, cuts: list[int]
) -> None:
    framed, left = b"", body
    if chunked:
        for size in sizes:
            part, left = left[:size], left[size:]
            framed += b"%x\r\n%s\r\n" % (len(part), part) if part else b""
        framed += (b"%x\r\n%s\r\n" % (len(left), left) if left else b"") + b"0\r\n\r\n"
    head = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
    data = b"HTTP/1.1 %d X\r\n%s\r\nX-Y: z\r\n\r\n%s" % (status, head, framed if chunked else body)
    theirs = HTTPResponse(_Socket(data + rest))  # type: ignore[arg-type]
    theirs.begin()
    expected = theirs.read()
    reader, done = AnswerReader(LIMIT), False
    places = sorted({min(cut, len(data)) for cut in cuts})
    for start, end in zip([0, *places], [*places, len(data)], strict=True):
        assert not done or start == end
        done = (reader.feed(data[start:end]) if end > start else False) or done
    assert done
    assert (reader.answer().status, reader.answer().body) == (theirs.status, expected)
    assert reader.reusable


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_an_answer_or_an_error_of_http(data: bytes, with_head: bool) -> None:
    reader = AnswerReader(LIMIT)
    try:
        if not reader.feed((CHUNKED if with_head else b"") + data):
            reader.end()
    except (HTTPException, ConnectionError):
        return
    assert len(reader.answer().body) <= LIMIT
