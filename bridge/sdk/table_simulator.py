"""A simulated vendor made of a table of results: its API, a bench for the contract suites, an account for the demo.

Declare how the API is queried and answers, and how one sitting is printed as a row, in the vendor's `contract.py`:

    def row(sitting: Sitting) -> dict[str, Any]:
        return {"id": f"r{sitting.number}", "who": f"p{sitting.person}", "finished": iso(sitting.finished)}

    TABLE = Table(
        path="/results", rows="data.items", row=row, since="since", time="iso", page="page",
        key=("x-token", "invented"), credentials={"token": "invented"}, visible_after=60.0,
    )

    class Bench(TableBench):
        table = TABLE

    VARIANTS = {"documented": Bench, "exclusive": lambda now: Bench(now, inclusive=False)}

That is all for a vendor that is only polled. `docs/vendor-contract.md` has all members of `Table` and `Sitting`. Times
are UNIX seconds; a place such as `data.items` is a member of an object inside another one. What else the vendor does is
a method of `Bench`, made of `add`, `change` and `shown` of its `simulator`:

        def grade(self, attempt_id: str) -> None:
            self.simulator.change(attempt_id, graded=True, score=90)

        def webhook(self, attempt_id: str) -> tuple[bytes, Mapping[str, str]]:
            raw = json.dumps(self.simulator.shown(attempt_id)).encode()
            return raw, {"content-type": "application/json", **self.sign(raw, self.secret)}

For the demo write the table into `simulator.py`, and below it:

    def sandbox(seed: int, clock: Callable[[], float], *, scale: float, faults: Faults) -> TableSimulator:
        return TableSimulator(TABLE, clock, seed=seed, scale=scale, faults=faults)

Write ids, signatures and times in `row` and `webhook` with separate code: what they share with the adapter may be wrong
in both.
"""

from __future__ import annotations

import json
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random
from typing import Any, ClassVar

from werkzeug.exceptions import HTTPException, Unauthorized
from werkzeug.wrappers import Request, Response

from bridge.sdk.simulator import NO_FAULTS, ExpectedAttempt, Faults, Outbox
from bridge.sdk.table import Sitting, Table, answer_to, iso, spoilt

__all__ = ["Sitting", "Table", "TableBench", "TableSimulator", "iso"]


class TableSimulator:
    """One account (`bridge.sdk.simulator.SimulatedVendor`). All randomness comes from `seed`, all time from `clock`.

    `scale`: grading and the quota's window are shorter by this factor. Thread-safe: a demo serves the API and lets
    candidates sit at the same time.
    """

    #: Attempt id -> sitting; `change` changes one.
    sittings: dict[str, Sitting]
    #: The time, UNIX seconds.
    now: Callable[[], float]

    def __init__(
        self,
        table: Table,
        clock: Callable[[], float],
        *,
        seed: int = 7,
        scale: float = 1.0,
        faults: Faults = NO_FAULTS,
    ) -> None:
        waits = None if table.graded_after is None else table.graded_after / scale
        self.table = replace(table, graded_after=waits, per_seconds=table.per_seconds / scale)
        self.now, self.sittings = clock, {}
        self.credentials: Mapping[str, str | tuple[str, ...]] = {
            name: values[0] if len(values) == 1 else values for name, values in table.credentials.items()
        }
        self.options, self.base_path = table.options, ""
        #: Ids of attempts that are not listed, and of those that are listed with members that cannot be read.
        self.hidden: set[str] = set()
        self.spoiled: set[str] = set()
        self._rng = Random(seed)  # noqa: S311 - invented data, must be repeatable
        self._troubles: deque[Response | None] = deque()
        self._last_answer: Response | None = None
        self._versions: Counter[str] = Counter()
        self._to_grade: deque[tuple[float, str]] = deque()
        self._counted: Counter[str] = Counter()
        self._calls: deque[float] = deque()
        self._lock = threading.RLock()
        self.outbox = Outbox(clock=clock, rng=self._rng, faults=faults, retry_schedule=(0.5, 1.0, 2.0, 5.0, 10.0))
        self.wsgi: Any = Request.application(self._answer)

    def add(
        self,
        finished: int | None,
        *,
        started: int | None = None,
        person: int | None = None,
        graded: bool = True,
        score: int | None = None,
        item: str | None = None,
    ) -> str:
        """Somebody finished at `finished` (None: not finished yet); the rest is invented. Returns the attempt id."""
        at = int(self.now()) if finished is None else int(finished)
        with self._lock:
            number = len(self.sittings) + 1
            sitting = Sitting(
                number=number,
                person=number if person is None else person,
                started=at - 600 if started is None else int(started),
                finished=None if finished is None else at,
                changed=at,
                graded=graded,
                score=self._rng.randrange(101) if score is None else score,
                item=self._items()[0] if item is None else item,
            )
            attempt_id = self.table.attempt_id(self.table.row(sitting))
            self.sittings[attempt_id] = sitting
            self._announce(attempt_id)
            return attempt_id

    def change(self, attempt_id: str, **members: Any) -> None:
        """Set members of a sitting; `changed` becomes now unless given, and `revision` goes up by one."""
        with self._lock:
            sitting = self.sittings[attempt_id]
            usual = {"changed": int(self.now()), "revision": sitting.revision + 1}
            self.sittings[attempt_id] = replace(sitting, **{**usual, **members})
            self._announce(attempt_id)

    def shown(self, attempt_id: str) -> dict[str, Any]:
        """The row of an attempt as the API prints it now."""
        row = self.table.row(self.sittings[attempt_id])
        if attempt_id not in self.spoiled:
            return row
        return {name: spoilt(value, attempt_id) for name, value in row.items()}

    def fail(self, status: int, headers: Mapping[str, str] | None = None, *, times: int = 1) -> None:
        """The next calls are answered with this status, such as 500, or 429 with the header Retry-After."""
        self._troubles += [Response(status=status, headers=dict(headers or {}))] * times

    def repeat(self, times: int = 1) -> None:
        """The next calls get the last answer again, whatever they ask for."""
        self._troubles += [None] * times

    # What demos and simulations use ---------------------------------------------------------------------------------

    def sit(self, now: float, *, candidate: int) -> str:
        waits = self.table.graded_after
        attempt_id = self.add(
            int(now),
            started=int(now) - self._rng.randrange(20, 600),
            person=candidate,
            graded=waits is None,
            item=self._rng.choice(self._items()),
        )
        if waits is not None:
            self._to_grade.append((now + waits, attempt_id))
        return attempt_id

    def tick(self, now: float) -> None:
        while self._to_grade and self._to_grade[0][0] <= now:
            self.change(self._to_grade.popleft()[1], changed=int(now), graded=True)

    def idle(self) -> bool:
        return not self._to_grade and not self.outbox.pending()

    def expected(self) -> dict[str, ExpectedAttempt]:
        with self._lock:
            return {
                attempt_id: ExpectedAttempt(
                    finished_at=sitting.finished,
                    needs_grading=not sitting.graded,
                    versions=self._versions[attempt_id],
                    sent=self.outbox.delivered[attempt_id],
                    lost=self.outbox.lost[attempt_id],
                    percentage=float(sitting.score) if sitting.graded else None,
                    voided=sitting.voided,
                )
                for attempt_id, sitting in self.sittings.items()
                if sitting.finished is not None
            }

    def expectations(self) -> list[Mapping[str, str]]:
        return []  # polls find everything

    def counts(self) -> Mapping[str, int]:
        seen = {name: self._counted[name] for name in ("api_calls", "quota_refusals")}
        return {"completed": len(self.expected()), **seen, **self.outbox.tally()}

    def start_webhooks(self, url: str) -> None:
        self.outbox.start(url)

    def stop(self) -> None:
        self.outbox.stop()

    def _items(self) -> tuple[str, ...]:
        return tuple(self.options[self.table.per]) if self.table.per else ("",)

    def _announce(self, attempt_id: str) -> None:
        self._versions[attempt_id] += self.sittings[attempt_id].finished is not None
        if self.table.webhook is not None:
            self.outbox.announce(*self.table.webhook(self.shown(attempt_id), self.now()), attempt_id)

    # The API ---------------------------------------------------------------------------------------------------------

    def _answer(self, request: Request) -> Response:
        with self._lock:
            if not self._takes_a_call():
                return Response(status=429)
            self._counted["api_calls"] += 1
            if self._troubles:
                return self._troubles.popleft() or self._last_answer or Response(status=500)
            try:
                document = self._document(request)
            except HTTPException as error:
                return Response(status=error.code)
            self._last_answer = Response(json.dumps(document), mimetype="application/json")
            return self._last_answer

    def _takes_a_call(self) -> bool:
        if self.table.calls is None:
            return True
        now = self.now()
        while self._calls and self._calls[0] <= now - self.table.per_seconds:
            self._calls.popleft()
        if len(self._calls) >= self.table.calls:
            self._counted["quota_refusals"] += 1
            return False
        self._calls.append(now)
        return True

    def _document(self, request: Request) -> Any:
        table, (header, value) = self.table, self.table.key
        if request.headers.get(header) != value:
            raise Unauthorized
        listed = {name: sitting for name, sitting in self.sittings.items() if name not in self.hidden}
        return answer_to(table, request.path, request.args, listed, self.shown)


class TableBench:
    """A bench for the contract suites (`docs/adding-a-vendor.md`, "Contract"): a small account, three rows a page.

    `table` is that of the vendor; `changes`: its members that differ in a variant.
    """

    #: How the vendor's API answers; each bench declares it.
    table: ClassVar[Table]
    #: The account, which methods such as `grade` act on: `self.simulator.change(attempt_id, graded=True)`.
    simulator: TableSimulator
    #: The time, UNIX seconds: `self.now()`.
    now: Callable[[], float]
    secret = ""
    spellings: tuple[str, ...] = ()

    def __init__(self, now: Callable[[], float], **changes: Any) -> None:
        table = replace(self.table, **{"page_size": 3, "calls": None, **changes})
        self.simulator, self.now = TableSimulator(table, now), now
        self.wsgi, self.visible_after = self.simulator.wsgi, table.visible_after
        self.credentials = {name: (value,) for name, value in table.credentials.items()}
        self.options = table.options

    def finish(self, stream: str, at: int, *, started: int | None = None, graded: bool = True) -> str:
        """Another person finishes at `at`; a stream `<name>:<item>` selects an item, any other the first one."""
        item = stream.partition(":")[2] or None
        return self.simulator.add(at, started=started, graded=graded, score=70, item=item)

    def retake(self, attempt_id: str, at: int) -> str:
        """The same person sits again."""
        first = self.simulator.sittings[attempt_id]
        return self.simulator.add(at, started=at - 60, person=first.person, score=80, item=first.item)

    def spoil(self, attempt_id: str) -> None:
        """From now on the API lists this attempt with members that cannot be read, except for its id."""
        self.simulator.spoiled.add(attempt_id)

    def hide(self, attempt_id: str) -> None:
        """The API does not list this attempt."""
        self.simulator.hidden.add(attempt_id)

    def show(self, attempt_id: str) -> None:
        """The API lists it from now on."""
        self.simulator.hidden.discard(attempt_id)
