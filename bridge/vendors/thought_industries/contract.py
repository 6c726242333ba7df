"""What `tests/contract` needs for Thought Industries: how to make its simulator do things. Used by nothing else."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Any

from bridge.vendors.thought_industries.simulator import Behaviour, Simulator
from bridge.vendors.thought_industries.simulator.rows import COURSES, TESTS

__all__ = ["VARIANTS", "Bench"]

#: Scored, with a pass mark, and graded by a person.
_TEST = TESTS[1]


class Bench:
    """A small simulated tenant with tiny pages; the members are those of `docs/adding-a-vendor.md`, "Contract"."""

    secret = "bench-phrase"  # noqa: S105 - invented

    #: Members of an expectation that a webhook, an operator and the vendor may spell differently.
    spellings = ("user_id", "course_id")
    #: Rounds go back at least this far, seconds.
    visible_after = 60.0
    #: Options of a source that reads part of the tenant; `elsewhere` is outside it.
    restricted: Mapping[str, Any] = {"course_ids": (COURSES[0][0], "5c5c5c5c-4444-4e55-8e6b-000000000009")}

    def __init__(self, now: Callable[[], float], *, options: Mapping[str, str], **behaviour: Any) -> None:
        self.options = options
        self.simulator = Simulator(
            7,
            now,
            webhook_secret=self.secret,
            quota_calls=100_000,
            behaviour=Behaviour(page_size=3, dates=options.get("dates", "iso"), **behaviour),
        )
        self.wsgi = self.simulator.wsgi
        self.credentials = {"api_key": (self.simulator.api_key,), "webhook_secret": (self.secret,)}

    def finish(self, stream: str, at: int, *, started: int | None = None, graded: bool = True) -> str:
        """A scored sitting finishes at `at`; both streams list it."""
        began = at - 600 if started is None else started
        return self.simulator.finish(at, started=began, test=_TEST, grade=70, graded=graded, course=0)

    def begin(self, stream: str, started: int) -> str:
        """Somebody begins the same test and has not finished yet."""
        return self.simulator.begin(started, test=_TEST)

    def complete(self, attempt_id: str, at: int) -> None:
        """What was begun is finished."""
        self.simulator.hand_in(attempt_id, at, grade=70)

    def retake(self, attempt_id: str, at: int) -> str:
        """The same candidate sits the same test again."""
        return self.simulator.retake(attempt_id, at)

    def grade(self, attempt_id: str) -> None:
        """A person grades what is pending."""
        self.simulator.grade(attempt_id, 90)

    def revise(self, attempt_id: str, at: int) -> None:
        """The grade of a finished attempt is changed."""
        self.simulator.grade(attempt_id, 85, at)

    def elsewhere(self, at: int) -> str:
        """Somebody finishes the same test in another course."""
        return self.simulator.finish(at, test=_TEST, grade=70, course=1)

    def spoil(self, attempt_id: str) -> None:
        """From now on the API lists this attempt with invalid times."""
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
        """The headers that prove `raw` under a secret, with lower-case names."""
        return {"x-ti-signature": hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()}

    def expectation(self, attempt_id: str) -> Mapping[str, str]:
        """The learner and the course, as an operator knows them."""
        return self.simulator.place(attempt_id)


#: Name -> how to build a bench: one way in which the vendor may behave, with everything that the contract needs.
VARIANTS: Mapping[str, Callable[[Callable[[], float]], Bench]] = {
    "documented": lambda now: Bench(now, options={}, full_rows=True),
    "in-practice": lambda now: Bench(now, options={"dates": "unix_ms"}, wrapped=False),
    "general-paging": lambda now: Bench(now, options={}, meta=True, sparse=True),
    "text": lambda now: Bench(now, options={"dates": "unix_ms"}, as_text=True, overlooks_dates=True),
}
