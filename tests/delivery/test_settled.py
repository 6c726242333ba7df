"""The compact forms of deliveries: tries as lines, what has ended as bytes. Both are read back as they were written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.delivery.settled import DELIVERED, Settled, index_key, pack, read_settled
from bridge.delivery.tries import LoggedTry, answer_text, read_tries

PLAIN = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=40)


def stored(record: bytes, **fields: bytes) -> dict[bytes, bytes]:
    return {b"d": record + b"\x00", **{name.encode(): value for name, value in fields.items()}}


@given(event_id=PLAIN | st.uuids().map(str), kind=PLAIN | st.just("attempt.revised"), source=PLAIN, attempt=PLAIN)
def test_a_settled_delivery_is_read_as_it_was_written(event_id: str, kind: str, source: str, attempt: str) -> None:
    record = pack(
        DELIVERED,
        event_id=event_id,
        event_type=kind,
        source=source,
        attempt=attempt,
        tries=1,
        status=204,
        seconds=0.125,
    )
    assert record[1:9] == index_key(event_id)
    read = read_settled(2, b"1700000000000-3", stored(record, a=b"ok"))
    assert read is not None
    assert (read.id, read.type, read.source, read.attempt) == (event_id, kind, source, attempt)
    assert (read.partition, read.at, read.outcome, read.count) == (2, 1_700_000_000.0, DELIVERED, 1)
    (only,) = read.tries
    assert (only.status, only.seconds, only.at, only.answer) == (204, 0.125, 1_699_999_999.875, "ok")


@given(st.binary(max_size=60))
def test_any_other_bytes_are_no_settled_delivery_or_a_whole_one(record: bytes) -> None:
    read = read_settled(0, b"1700000000000-0", stored(record))
    assert read is None or isinstance(read, Settled)


@given(
    st.builds(
        LoggedTry,
        at=st.integers(0, 10**13).map(lambda ms: ms / 1000),
        seconds=st.integers(0, 10**6).map(lambda ms: ms / 1000),
        status=st.none() | st.integers(100, 599),
        reason=PLAIN,
        error=PLAIN,
        answer=PLAIN,
    )
)
def test_a_try_is_read_as_it_was_written_and_is_one_line(tried: LoggedTry) -> None:
    line = tried.to_line()
    assert "\n" not in line
    assert line.count("\t") == bool(tried.answer)
    assert read_tries(f"{line}\n{line}") == (tried, tried)


def test_a_line_that_cannot_be_read_costs_no_other_try() -> None:
    good = LoggedTry(at=1.0, seconds=0.5, status=500, reason="receiver_error", error="receiver answered 500")
    assert read_tries(f'{good.to_line()}\n[1]\nnonsense\n{{"at": 1}}\n{good.to_line()}') == (good, good)


@given(st.binary(max_size=2000))
def test_an_answer_is_at_most_a_kilobyte_of_printable_text(answer: bytes) -> None:
    text = answer_text(answer)
    assert len(text.encode()) <= 1024
    assert text == "" or text.isprintable()


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"<html>\r\nno\x1b[31m</html>", "<html>  no [31m</html>"),
        ("Zoë".encode(), "Zoë"),
        (b"\xff\x00", "\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_an_answer_keeps_its_letters_and_loses_its_control_characters(answer: bytes, text: str) -> None:
    assert answer_text(answer) == text
