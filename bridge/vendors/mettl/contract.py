"""What `tests/contract` needs for Mettl: how to make its simulator do things. Used by nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

from bridge.vendors.mettl.simulator import Behaviour, Simulator, Style
from bridge.vendors.mettl.simulator.sittings import SCHEDULES

__all__ = ["VARIANTS", "Bench"]


class Bench:
    """A small simulated account with tiny pages; the members are those of `docs/adding-a-vendor.md`, "Contract"."""

    secret = ""  # nothing is signed
    #: Only webhooks have the id of the sitting.
    one_path_only = frozenset({"sitting"})
    #: Members of an expectation that a webhook, an operator and the vendor may spell differently.
    spellings = ("email",)
    #: Rounds go back at least this far, seconds.
    visible_after = 60.0
    #: Calls that only supply names, and how the vendor refuses one for lack of permission.
    names_only = re.compile(r"/v[123]/(?:assessments|schedules/[^/?]+)(?:\?|$)")
    #: Calls about one part of the list, how its ids begin, and its name in alarms.
    part = re.compile(r"/v[123]/schedules/k7p2m9x4aa/candidates")
    part_ids, part_name = "k7p2m9x4aa:", "schedule k7p2m9x4aa"
    refusal = b'{"status": "ERROR", "error": {"code": "E403", "message": "not allowed"}}'

    def __init__(self, now: Callable[[], float], *, options: Mapping[str, Any], **behaviour: Any) -> None:
        self.options = options
        self.simulator = Simulator(7, now, quota_calls=100_000, behaviour=Behaviour(page_size=3, **behaviour))
        self.wsgi = self.simulator.wsgi
        self.credentials = {name: (str(value),) for name, value in self.simulator.credentials.items()}
        self._schedules = count()
        self._places = len(options.get("schedules", SCHEDULES))

    def finish(self, stream: str, at: int, *, started: int | None = None, graded: bool = True) -> str:
        """A scored sitting finishes at `at`, in one schedule after the other; the id is the simulator's own."""
        place = next(self._schedules) % self._places
        return self.simulator.finish(at=at, started=started, graded=graded, schedule=place)

    def begin(self, stream: str, started: int) -> str:
        """Somebody begins, and has not finished yet."""
        attempt_id = self.simulator.invite(schedule=next(self._schedules) % self._places)
        self.simulator.start(attempt_id, started)
        return attempt_id

    def complete(self, attempt_id: str, at: int) -> None:
        """Whoever began finishes, and gets a result."""
        self.simulator.submit(attempt_id, at, marks=14.5)
        self.simulator.grade(attempt_id)

    def retake(self, attempt_id: str, at: int) -> str:
        """The result is deleted, and the same person sits the same test in the same schedule again."""
        return self.simulator.sit_again(attempt_id, at=at)

    def grade(self, attempt_id: str) -> None:
        """The result is generated."""
        self.simulator.grade(attempt_id, marks=17.0)

    def revise(self, attempt_id: str, at: int) -> None:
        """An administrator lets the candidate go on, who finishes again, later and better."""
        self.simulator.allow_resume(attempt_id)
        self.simulator.start(attempt_id)
        self.simulator.submit(attempt_id, at, marks=18.5)
        self.simulator.grade(attempt_id)

    def spoil(self, attempt_id: str) -> None:
        """From now on the API lists this attempt with a start that is not a time."""
        self.simulator.sitting(attempt_id).odd_start = "soon"

    def hide(self, attempt_id: str) -> None:
        """The API does not list this attempt."""
        self.simulator.sitting(attempt_id).deleted = True

    def show(self, attempt_id: str) -> None:
        """The API lists it from now on."""
        self.simulator.sitting(attempt_id).deleted = False

    def webhook(self, attempt_id: str) -> tuple[bytes, Mapping[str, str]]:
        """Body and headers of the attempt's final webhook as sent now."""
        return self.simulator.webhook(attempt_id)

    def sign(self, raw: bytes, secret: str) -> Mapping[str, str]:
        """Mettl signs nothing."""
        return {}

    def expectation(self, attempt_id: str) -> Mapping[str, str]:
        """As an operator would register it."""
        sitting = self.simulator.sitting(attempt_id)
        return {"access_key": sitting.schedule.access_key, "email": sitting.email}


_TWO = [schedule.access_key for schedule in SCHEDULES[:2]]

#: Name -> how to build a bench: one way in which the vendor may behave, with everything that the contract needs.
VARIANTS: Mapping[str, Callable[[Callable[[], float]], Bench]] = {
    "today": lambda now: Bench(now, options={}),
    "v1": lambda now: Bench(
        now, options={"api_version": "v1", "schedules": _TWO}, style=Style(reports=True), http_errors=True
    ),
    "v3": lambda now: Bench(now, options={"api_version": "v3"}, unstarted_first=True, alone=True, capitals=False),
    "text": lambda now: Bench(now, options={"recommendation": True, "essays": True}, style=Style(text=True)),
    "unconfirmed": lambda now: Bench(now, options={"confirm": False}, style=Style(reports=True, camel=False)),
}
