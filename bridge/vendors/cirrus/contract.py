"""What `tests/contract` needs for Cirrus: how to make its simulator do things. Used by nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

from bridge.vendors.cirrus.simulator import Behaviour, Simulator

__all__ = ["VARIANTS", "Bench"]


class Bench:
    """A small simulated environment; the members are those of `docs/adding-a-vendor.md`, "Contract".

    `candidate` and `schedule` are patterns for the ids that the company gave; every candidate sits in one schedule,
    and again in the next one.
    """

    #: Nothing is signed: the webhook's address holds a token.
    secret = ""
    #: Members of an expectation that a webhook, an operator and the vendor may spell differently.
    spellings = ("schedule", "candidate", "attempt")

    def __init__(
        self,
        now: Callable[[], float],
        *,
        identity: str = "pair",
        candidate: str = "cand-{}",
        schedule: str = "SPRING-{}",
        **behaviour: Any,
    ) -> None:
        self.options: Mapping[str, Any] = {"identity": identity}
        external = identity == "attempt"
        self.simulator = Simulator(
            7, now, quota_calls=100_000, behaviour=Behaviour(external_attempts=external, **behaviour)
        )
        self.wsgi = self.simulator.wsgi
        self.credentials = {"token": (self.simulator.token,)}
        self._candidate, self._schedule = candidate, schedule
        self._numbers = count(1)

    def finish(self, _stream: str, at: float, *, started: float | None = None, graded: bool = True) -> str:
        """A candidate hands an attempt in at `at` (UNIX seconds), and somebody publishes the result at once."""
        attempt_id = self.simulator.finish(
            self._schedule.format(7), self._candidate.format(next(self._numbers)), at=at, started=started, score=6.5
        )
        if graded:
            self.simulator.publish(attempt_id, at=at)
        return attempt_id

    def retake(self, attempt_id: str, at: float) -> str:
        """The same candidate sits again, in another schedule."""
        again = self.simulator.retake(attempt_id, at=at, score=9.0, schedule=self._schedule.format(8))
        self.simulator.publish(again, at=at)
        return again

    def grade(self, attempt_id: str) -> None:
        """A person marks and publishes."""
        self.simulator.grade(attempt_id, score=8.0)

    def revise(self, attempt_id: str, at: float) -> None:
        """A published result is marked again and published with a different score."""
        self.simulator.remark(attempt_id)
        self.simulator.sittings[attempt_id].score += 1.5
        self.simulator.publish(attempt_id, at=at)

    def webhook(self, attempt_id: str) -> tuple[bytes, Mapping[str, str]]:
        """Body and headers as they are sent now."""
        return self.simulator.webhook(attempt_id)

    def sign(self, _raw: bytes, _secret: str) -> Mapping[str, str]:
        """No header proves anything."""
        return {}

    def expectation(self, attempt_id: str) -> Mapping[str, str]:
        """The reference that an operator would register for this attempt."""
        return self.simulator.expectation(attempt_id)


#: Name -> how to build a bench: one way in which the vendor may behave, with everything that the contract needs.
VARIANTS: Mapping[str, Callable[[Callable[[], float]], Bench]] = {
    "documented": Bench,
    "external-attempts": lambda now: Bench(now, identity="attempt", template="small"),
    "attempt-without-status": lambda now: Bench(now, identity="attempt", attempt_in_shape_a=False, template="wrapped"),
    "unpublished-shown": lambda now: Bench(now, show_unpublished=True, nothing="list", template="booking"),
    "all-text": lambda now: Bench(now, types="text", nothing="message", wrapped_results=True),
    "all-numbers": lambda now: Bench(now, types="numbers", nothing="empty", published_moves=False),
    "awkward-ids": lambda now: Bench(now, candidate="Ü {}/a:b+c%20&d", schedule="No. {}?x=1#y", nothing="404"),
}
