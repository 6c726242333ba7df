"""The switches of the simulated Thought Industries."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["AS_DOCUMENTED", "Behaviour"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How the vendor behaves where its pages leave room or contradict each other.

    `wrapped`: the list is inside `data.AssessmentAttempts`. `meta`: the next page is in `meta.nextCursor`. `dates`: iso
    or unix_ms; `overlooks_dates`: the other form is not an error. `names_ids`: webhooks name user and course.
    `reserialised`: the signature is over the body serialised again. `lag`: seconds until a new row is listed.
    `full_rows`, `sparse`, `as_text`: as in `rows.row`. `retry_schedule`: seconds between tries of a webhook.
    `graded_after`, `regraded_after`: seconds after `sit` until a person grades, or changes a grade, which happens to a
    share of `regraded_share`.
    """

    wrapped: bool = True
    meta: bool = False
    dates: str = "iso"
    overlooks_dates: bool = False
    newest_first: bool = False
    page_size: int = 100
    full_rows: bool = False
    sparse: bool = False
    as_text: bool = False
    names_ids: bool = True
    reserialised: bool = False
    lag: float = 0.0
    retry_schedule: tuple[float, ...] = (60.0, 300.0, 1800.0, 7200.0, 86_400.0)
    graded_after: float = 2 * 86_400.0
    regraded_after: float = 3 * 86_400.0
    regraded_share: float = 0.04


AS_DOCUMENTED = Behaviour()
