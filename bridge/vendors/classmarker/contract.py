"""What `tests/contract` needs for ClassMarker: how to make its simulator do things. Used by nothing else."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from typing import Any

from bridge.vendors.classmarker.simulator import Behaviour, Simulator

__all__ = ["VARIANTS", "Bench"]

_CHANNELS = {"groups": "group", "links": "link"}


class Bench:
    """A small simulated account with tiny pages; the members are those of `docs/adding-a-vendor.md`, "Contract"."""

    secret = "bench-phrase"  # noqa: S105 - invented
    #: Only webhooks have the results by category.
    one_path_only = frozenset({"sections"})
    #: Rounds go back at least this far, seconds.
    visible_after = 60.0
    #: The API lists no more results of one second than fit on a page.
    one_page_per_second = True
    #: Members of an expectation that a webhook, an operator and the vendor may spell differently.
    spellings = ("result", "user", "test", "group")
    #: Calls about one part of what is listed, how its ids begin, its name in alarms, and the refusal of that part.
    part = re.compile(r"/v1/groups/")
    part_ids, part_name = "group:", "groups"
    refusal = b'{"status": "error", "error": {"error_code": "apiKeyNoGroupPermission", "error_message": "invented"}}'

    def __init__(self, now: Callable[[], float], *, options: Mapping[str, str], **behaviour: Any) -> None:
        self.options = options
        digest = options.get("signature", "sha256")
        self.simulator = Simulator(
            7,
            now,
            webhook_secret=self.secret,
            quota_calls=100_000,
            behaviour=Behaviour(page_size=3, digest=digest, **behaviour),
        )
        self.wsgi = self.simulator.wsgi
        self.credentials = {
            "api_key": (self.simulator.api_key,),
            "api_secret": (self.simulator.api_secret,),
            "webhook_secret": (self.secret,),
        }

    def finish(self, stream: str, at: int, *, started: int | None = None, graded: bool = True) -> str:
        """A scored sitting finishes at `at`; the id is the simulator's own."""
        return self.simulator.finish(
            channel=_CHANNELS[stream],
            test_id=90013,
            time_finished=at,
            time_started=at - 600 if started is None else started,
            points_scored=21.0,
            points_available=30.0,
            pass_mark=65,
            requires_grading=not graded,
        )

    def retake(self, attempt_id: str, at: int) -> str:
        """The same candidate sits the same test again."""
        return self.simulator.retake(attempt_id, time_finished=at)

    def grade(self, attempt_id: str) -> None:
        """A person grades the open answers; the score changes."""
        self.simulator.grade(attempt_id, points_scored=28.0)

    def revise(self, attempt_id: str, at: int) -> None:
        """An administrator opens the test again and the candidate finishes it later."""
        self.simulator.reopen(attempt_id, time_finished=at)

    def spoil(self, attempt_id: str) -> None:
        """From now on the API lists this attempt with a finish that is not a time."""
        self.simulator.sitting(attempt_id).odd_time = "soon"

    def hide(self, attempt_id: str) -> None:
        """The API does not list this attempt."""
        self.simulator.sitting(attempt_id).hidden = True

    def show(self, attempt_id: str) -> None:
        """The API lists it from now on."""
        self.simulator.sitting(attempt_id).hidden = False

    def webhook(self, attempt_id: str) -> tuple[bytes, Mapping[str, str]]:
        """Body and headers as they are sent now."""
        return self.simulator.webhook(attempt_id)

    def sign(self, raw: bytes, secret: str) -> Mapping[str, str]:
        """The headers that prove `raw` under a secret, with lower-case names."""
        digest = hmac.new(secret.encode(), raw, hashlib.sha256).digest()
        return {"x-classmarker-hmac-sha256": base64.b64encode(digest).decode()}

    def expectation(self, attempt_id: str) -> Mapping[str, str]:
        """The attempt as an operator would expect it: a group's member and test without the start."""
        stream, *parts = attempt_id.split(":")
        names = ("result",) if stream == "link" else ("user", "test", "group")
        return {"stream": stream, **dict(zip(names, parts, strict=False))}


#: Name -> how to build a bench: one way in which the vendor may behave, with everything that the contract needs.
VARIANTS: Mapping[str, Callable[[Callable[[], float]], Bench]] = {
    "today": lambda now: Bench(now, options={}),
    "2016": lambda now: Bench(
        now, options={"format": "xml"}, shape="2016", newer_fields=False, doubled_header=True, questions=False
    ),
    "inclusive": lambda now: Bench(now, options={"signature": "md5"}, shape="documented", inclusive=True),
    "low-next": lambda now: Bench(now, options={"format": "xml"}, next_below=True, clock_offset=7200.0),
}
