"""How the simulated Coremetrix behaves where the vendor's pages leave room."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["AS_DOCUMENTED", "Behaviour"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """Every switch is a way in which the vendor may turn out to be.

    `id_member`: the member of a webhook with the attempt's id, `attemptId` or `id`; None: it has none. `names_quiz`,
    `withdrawal_names_quiz`: whether events about progress, and a withdrawal, name the quiz. `selects`: what `from` and
    `to` apply to: load, start or end. `inclusive`: their bounds belong to the window. `key_in_header`: the key must be
    a header. `missing_is_404`: a person without attempts gets a 404. `text`: numbers as text, ids in capitals, null for
    empty lists. `enveloped`: every answer in the form of a window's. `page_limit`: a window silently lists no more
    attempts. `lag`: seconds until an attempt is listed. `scored_after`, `withdrawn_after`: seconds from the last answer
    to the scores, and to a withdrawal if a candidate has second thoughts. `retry_schedule`: seconds between tries of a
    webhook.
    """

    id_member: str | None = "attemptId"
    names_quiz: bool = True
    withdrawal_names_quiz: bool = True
    selects: str = "load"
    inclusive: bool = False
    key_in_header: bool = False
    missing_is_404: bool = False
    text: bool = False
    enveloped: bool = False
    page_limit: int | None = None
    lag: float = 0.0
    scored_after: float = 120.0
    withdrawn_after: float = 2 * 86_400.0
    retry_schedule: tuple[float, ...] = ()


AS_DOCUMENTED = Behaviour()
