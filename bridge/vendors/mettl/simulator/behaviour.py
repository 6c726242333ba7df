"""How the simulated Mettl behaves where the vendor's pages leave room."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.vendors.mettl.simulator.sittings import USUAL, Style

__all__ = ["Behaviour"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """Switches of one account.

    `page_size`: maximum rows in a page, whatever is requested. `unstarted_first`: candidates without a start come
    first. `alone`: one candidate comes as an object, not in a list. `capitals`: SUCCESS or Success. `http_errors`:
    errors by HTTP status as well. `send_after_grading`: graded is sent again when marks change. `processing`,
    `hand_grading`: seconds until a result without and with essays. `resume_share`, `regrade_share`: of those who `sit`,
    0-1. `retry_schedule`: seconds between tries of a webhook.
    """

    style: Style = USUAL
    page_size: int = 100
    unstarted_first: bool = False
    alone: bool = False
    capitals: bool = True
    http_errors: bool = False
    send_after_grading: bool = True
    processing: float = 3.0
    hand_grading: float = 15.0
    resume_share: float = 0.0
    regrade_share: float = 0.0
    retry_schedule: tuple[float, ...] = (5.0, 30.0, 300.0, 1800.0, 7200.0)
    clock_offset: float = 0.0
