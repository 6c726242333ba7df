"""Which of the events that a window holds are sent first."""

from __future__ import annotations

from bridge.delivery.record import Delivery
from workers.dispatch.settlement import Item
from workers.dispatch.window import Slot, Window
from workers.transports.contract import Outgoing


def slot(name: str, *, retry: bool = False, alone: bool = False) -> Slot:
    """`a2`: the second event of attempt `a`."""
    entry = f"{ord(name[0])}-{name[1]}"
    delivery = Delivery(id=name, type="attempt.completed", source="eu", attempt=name[0], entry=entry)
    item = Item("" if retry else entry, b"{}", delivery)
    outgoing = Outgoing(id=name, type="attempt.completed", source="eu", attempt=name[0], body=b"{}")
    return Slot(item, outgoing, "1180.000" if retry else "", alone)


def order(window: Window, limit: int = 1) -> list[str]:
    """The events in the order in which they are sent, `limit` at a time."""
    sent = []
    while chosen := window.startable(limit):
        started = window.start(chosen)
        sent += [each.outgoing.id for _, each in started]
        for number, _ in started:
            window.answer(number)
        window.settled([number for number, _ in started])
    return sent


def test_new_events_pass_retries_except_that_of_their_own_attempt() -> None:
    window = Window(limit=4, capacity=12)
    window.add([slot("a1", retry=True), slot("b1", retry=True), slot("c1"), slot("a2"), slot("d1")])
    assert window.retries == 2
    assert order(window) == ["c1", "d1", "a1", "a2", "b1"]
    assert window.retries == 0


def test_what_must_be_sent_alone_is_passed_by_nothing_that_came_after_it() -> None:
    window = Window(limit=4, capacity=12)
    window.add([slot("a1", retry=True), slot("b1"), slot("c1", retry=True, alone=True)])
    assert window.room == 0
    assert order(window, 4) == ["b1", "a1", "c1"]
    window.add([slot("a1", retry=True, alone=True)])
    assert [each.outgoing.id for each in window.startable(4)] == ["a1"]
