"""How a simulated Cirrus behaves where the vendor's pages leave room, and one of its schedules."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["DOCUMENTED", "Behaviour", "Plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How the vendor behaves where its pages leave room.

    `external_attempts`: every attempt has an id set by the caller. `template`: body of the webhook, one of
    `sittings.TEMPLATES`. `show_unpublished`: results without a publication are listed, `Published` null.
    `attempt_in_shape_a`: what an answer by `AttemptExtId` looks like. `types`: documented, text or numbers. `nothing`:
    the answer for no result: 400, 404, list, empty or message. `auto_publish`: nobody assesses, results are there after
    hand-in. `published_moves`: a changed result has a new time of publication. `announce_remarking`: the webhook also
    fires when a result is flagged. `quota_refusal`: the HTTP status over the quota. `retry_unit`: seconds that a unit
    of the retry formula stands for; `first_is_try`: the first delivery is one of the ten. `marking`, `changing`:
    minimum and maximum seconds until a person publishes, and until a person changes what is published. `rescored`:
    share of results after which a person rescores the whole schedule.
    """

    external_attempts: bool = False
    template: str = "placeholder"
    show_unpublished: bool = False
    attempt_in_shape_a: bool = True
    wrapped_results: bool = False
    types: str = "documented"
    nothing: str = "400"
    auto_publish: bool = False
    only_satisfactory: bool = False
    published_moves: bool = True
    announce_remarking: bool = False
    quota_refusal: int = 429
    retry_unit: float = 1.0
    first_is_try: bool = True
    marking: tuple[float, float] = (600.0, 2 * 86_400.0)
    changing: tuple[float, float] = (3_600.0, 10 * 86_400.0)
    rescored: float = 0.02


DOCUMENTED = Behaviour()


@dataclass(slots=True, kw_only=True)
class Plan:
    """One schedule. `begins`: UNIX seconds."""

    assessment: str
    begins: float
    candidates: list[str] = field(default_factory=list)
