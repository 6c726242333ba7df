"""What `tests/contract` needs for Coremetrix: how to make its simulator do things. Used by nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bridge.vendors.coremetrix.simulator import QUIZZES, Behaviour, Simulator

__all__ = ["VARIANTS", "Bench"]


class Bench:
    """A small simulated account; the members are those of `docs/adding-a-vendor.md`, "Contract"."""

    #: Nothing is signed.
    secret = ""

    #: Members of an expectation that a webhook, an operator and the vendor may spell differently.
    spellings = ("quiz_id",)
    #: Rounds go back a week from the newest time that they read, of which a sitting may take a day.
    visible_after = 6 * 86_400.0
    #: Options of a source that reads part of the account; `elsewhere` is outside it.
    restricted: Mapping[str, Any] = {"quiz_ids": (QUIZZES[0].id,)}

    def __init__(self, now: Callable[[], float], *, options: Mapping[str, Any] | None = None, **behaviour: Any) -> None:
        self.options = options or {}
        self.simulator = Simulator(7, now, quota_calls=100_000, behaviour=Behaviour(**behaviour))
        self.wsgi = self.simulator.wsgi
        self.credentials = {"api_key": (self.simulator.api_key,)}

    def finish(self, stream: str, at: int, *, started: int | None = None, graded: bool = True) -> str:
        """A person finishes a quiz at `at`, scored unless not `graded`; the id is the simulator's own."""
        return self.simulator.finish(finished=at, started=started, scored=graded)

    def retake(self, attempt_id: str, at: int) -> str:
        """The same person sits the same quiz again."""
        return self.simulator.retake(attempt_id, finished=at)

    def grade(self, attempt_id: str) -> None:
        """Every model scores the attempt."""
        self.simulator.grade(attempt_id)

    def revise(self, attempt_id: str, at: int) -> None:
        """The models score the attempt again."""
        self.simulator.rescore(attempt_id)

    def elsewhere(self, at: int) -> str:
        """A person finishes another quiz."""
        return self.simulator.finish(finished=at, quiz=QUIZZES[1])

    def spoil(self, attempt_id: str) -> None:
        """From now on the API lists this attempt with a finish that is not a time."""
        self.simulator.attempt(attempt_id).odd_time = "soon"

    def hide(self, attempt_id: str) -> None:
        """The API does not list this attempt."""
        self.simulator.attempt(attempt_id).hidden = True

    def show(self, attempt_id: str) -> None:
        """The API lists it from now on."""
        self.simulator.attempt(attempt_id).hidden = False

    def webhook(self, attempt_id: str) -> tuple[bytes, Mapping[str, str]]:
        """Body and headers as they are sent now."""
        return self.simulator.webhook(attempt_id)

    def sign(self, raw: bytes, secret: str) -> Mapping[str, str]:
        """No header: the vendor signs nothing."""
        return {}

    def expectation(self, attempt_id: str) -> Mapping[str, str]:
        """As an operator registers it: by the company's own id of the person, at one quiz."""
        attempt = self.simulator.attempt(attempt_id)
        return {"custom_id": attempt.custom_id, "quiz_id": attempt.quiz.id}


#: Name -> how to build a bench: one way in which the vendor may behave, with everything that the contract needs.
VARIANTS: Mapping[str, Callable[[Callable[[], float]], Bench]] = {
    "documented": Bench,
    "by-id": lambda now: Bench(now, id_member="id", selects="start", text=True),
    "by-person": lambda now: Bench(now, id_member=None, selects="end", inclusive=True, missing_is_404=True),
    "by-person-alone": lambda now: Bench(
        now,
        options={"quiz_ids": ("2F1D3C50-0000-4000-8000-0000000000AA",), "include_test": True},
        id_member=None,
        names_quiz=False,
        enveloped=True,
    ),
}
