"""A flood of lines of one kind is cut to a few a minute and a count; other kinds are not touched."""

from __future__ import annotations

import json

from bridge.monitoring import logs
from bridge.monitoring.log_limits import LINES, LogLimits
from tests.support.web import captured_logs


def test_a_flood_is_a_few_lines_and_a_count_and_the_next_minute_begins_anew() -> None:
    moment = [0.0]
    with captured_logs() as output:
        limits = LogLimits(logs.get_logger("web"), now=lambda: moment[0])
        allowed = [limits.allows("webhook_rejected", source="eu", reason="stale") for _ in range(1000)]
        assert allowed.count(True) == LINES
        assert limits.allows("webhook_rejected", source="eu", reason="missing")
        limits.flush()
        assert output.getvalue() == ""
        moment[0] = 60.0
        limits.flush()
        limits.flush()
        assert limits.allows("webhook_rejected", source="eu", reason="stale")
    (line,) = (json.loads(line) for line in output.getvalue().splitlines())
    assert (line["event"], line["of"], line["count"]) == ("log_lines_suppressed", "webhook_rejected", 1000 - LINES)
    assert (line["source"], line["reason"]) == ("eu", "stale")
