"""Every vendor that only points: a webhook about an attempt that is published already is never announced as overdue."""

from __future__ import annotations

import pytest

from tests.support.contract.engine import SOURCE, Bridge
from tests.support.partitions import entries
from workers.polling.overdue import announce_overdue
from workers.polling.recheck import recheck

pytestmark = pytest.mark.long

DAY = 86_400.0


def overdue(bridge: Bridge) -> list[str]:
    return [fields[b"attempt"].decode() for _, fields in entries(bridge.state) if fields[b"type"] == b"attempt.overdue"]


def pass_by(bridge: Bridge, days: float) -> None:
    """Time in which nothing runs, then whatever is due."""
    bridge.stage.clock.now += days * DAY
    for _ in range(3):
        recheck(bridge.services, SOURCE)
        bridge.stage.clock.now += 120.0
    announce_overdue(bridge.services)


@pytest.mark.parametrize("answers", [2, 0], ids=["the vendor answers at first", "it never answers"])
def test_a_webhook_about_a_published_attempt_is_never_overdue(unsigned, stream, variant_state, answers):
    stage, bridge = unsigned, Bridge(unsigned, variant_state)
    attempt_id = stage.finish(stream, stage.clock.now - 600)
    bridge.read()
    assert bridge.published() == [("completed", attempt_id)]

    healthy = bridge.wire
    bridge.push(attempt_id)
    for _ in range(answers):
        bridge.work()
        stage.clock.now += 60.0
    bridge.wire = lambda *_: (502, {}, b"")
    if not answers and any(watch.key.startswith("?") for watch in bridge.services.watches.list(SOURCE)):
        # Only the vendor knows what a key for several attempts means.
        bridge.wire = healthy
    pass_by(bridge, 40.0)

    assert overdue(bridge) == []
