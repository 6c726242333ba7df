"""Every vendor: an attempt has one id, however webhook, operator and vendor spell the ids it is made of."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from bridge.sdk.spelling import same_attempt
from tests.support.contract.engine import SOURCE, Bridge

pytestmark = [pytest.mark.long, pytest.mark.needs("split", "expect", "spellings")]

DAY = 86_400.0
SPELLINGS: dict[str, Callable[[str], str]] = {
    "upper": str.upper,
    "lower": str.lower,
    "swapped": str.swapcase,
    "blanks": lambda text: f"  {text} ",
    "decomposed": lambda text: unicodedata.normalize("NFD", text),
}


@pytest.mark.spread(
    "spelling",
    [
        "swapped, webhook first",
        "lower, expectation first",
        "upper, poll first",
        "blanks, expectation first",
        "decomposed, webhook first",
    ],
)
def test_one_attempt_is_published_once_however_its_ids_are_spelled(stage, stream, variant_state, spelling):
    kind, order = spelling.split(", ")
    bridge, bench, respell = Bridge(stage, variant_state), stage.bench, SPELLINGS[kind]
    attempt_id = stage.finish(stream, stage.clock.now - 600)
    reference = dict(bench.expectation(attempt_id))
    respelled = {reference[name]: respell(reference[name]) for name in bench.spellings if name in reference}
    bridge.wire = _vendor_that_knows_every_spelling(bridge.wire, respelled)

    def expect() -> None:
        spelled = {name: respelled.get(text, text) for name, text in reference.items()}
        now = stage.clock.now
        pointer = stage.vendor.expect({name: text.strip() for name, text in spelled.items()}, stage.options)
        bridge.services.expectations.expect(SOURCE, [pointer], label="one", due=now, deadline=now + DAY, now=now)

    def push() -> None:
        raw, headers = bench.webhook(attempt_id)
        body = json.dumps(_respelled(json.loads(raw), respelled)).encode()
        status, outcome = bridge.post(body, {**headers, **bench.sign(body, bench.secret)})
        assert (status, outcome) != (200, "quarantined")

    steps = {
        "webhook first": (push, expect),
        "expectation first": (expect, push),
        "poll first": (bridge.read, push, expect),
    }
    for step in steps[order]:
        step()
        stage.clock.now += 10.0
        bridge.work()
    bridge.read()
    bridge.live(1.5)
    # A watch that was left open ends after a week.
    stage.clock.now += 6.5 * DAY
    bridge.live(1.0)

    # An id that no answer repeats keeps the spelling in which it was asked for first.
    [(change, published_id)] = bridge.published()
    assert change == "completed"
    assert published_id == attempt_id or ("attempt" in reference and same_attempt(published_id, attempt_id))


def test_the_label_comes_though_operator_webhook_and_vendor_spell_the_ids_in_three_ways(stage, stream, variant_state):
    bridge, bench = Bridge(stage, variant_state), stage.bench
    attempt_id = stage.finish(stream, stage.clock.now - 600)
    reference = dict(bench.expectation(attempt_id))
    own = [reference[name] for name in bench.spellings if name in reference]
    operators, webhooks = ({text: respell(text) for text in own} for respell in (str.swapcase, _decomposed))
    bridge.wire = _vendor_that_knows_every_spelling(_vendor_that_knows_every_spelling(bridge.wire, operators), webhooks)

    now = stage.clock.now
    pointer = stage.vendor.expect({name: operators.get(text, text) for name, text in reference.items()}, stage.options)
    # Not due before the webhook: the label must come with the first event.
    bridge.services.expectations.expect(SOURCE, [pointer], label="HR-7", due=now + DAY, deadline=now + 2 * DAY, now=now)
    raw, headers = bench.webhook(attempt_id)
    body = json.dumps(_respelled(json.loads(raw), webhooks)).encode()
    bridge.post(body, {**headers, **bench.sign(body, bench.secret)})
    bridge.work()
    bridge.read()
    bridge.live(1.5)

    [(change, published_id)] = bridge.published()
    assert change == "completed"
    assert same_attempt(published_id, attempt_id)
    assert [event["data"]["extensions"]["expectation"] for event in bridge.events()] == ["HR-7"]
    assert bridge.services.expectations.list(SOURCE) == ()


def _decomposed(text: str) -> str:
    return unicodedata.normalize("NFD", text.title())


def _respelled(value: Any, respelled: dict[str, str]) -> Any:
    """The same document with every id in its other spelling; numbers stay numbers."""
    if isinstance(value, dict):
        return {name: _respelled(member, respelled) for name, member in value.items()}
    if isinstance(value, list):
        return [_respelled(member, respelled) for member in value]
    return respelled.get(value, value) if isinstance(value, str) else value


def _vendor_that_knows_every_spelling(wire: Any, respelled: dict[str, str]) -> Any:
    """The simulated vendor compares ids exactly; this one answers any spelling in its own."""
    known = {quote(other.strip(), safe=""): quote(own, safe="") for own, other in respelled.items() if other.strip()}

    def answer(method: str, path: str, *rest: Any) -> Any:
        # What is signed with its address must stay as it is; that vendor's simulator ignores the case of an address.
        if "asgn=" not in path:
            # The longest first: some ids contain others.
            for other, own in sorted(known.items(), key=lambda item: -len(item[0])):
                path = path.replace(other, own).replace(other.replace("%20", "+"), own)
        return wire(method, path, *rest)

    return answer
