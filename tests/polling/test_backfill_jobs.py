"""Which periods can be read again."""

from __future__ import annotations

import re
from datetime import datetime

from bridge.polling.backfill_jobs import period_problem

NOW, DAY = 1_800_000_000.7, 86_400.0


def test_the_earliest_moment_that_the_remedy_names_is_accepted_some_time_later_too() -> None:
    problem = period_problem(NOW - 100 * DAY, NOW, NOW, 89 * DAY)
    result = re.search(r"nothing before (\S+Z)\.", problem or "")
    assert result
    told = datetime.fromisoformat(result[1]).timestamp()
    for later in (0.0, 60.0, 1800.0):
        assert period_problem(told, NOW, NOW + later, 89 * DAY) is None
    # `--since 89d` is computed a moment before.
    assert period_problem(NOW - 89 * DAY, NOW, NOW + 0.5, 89 * DAY) is None
