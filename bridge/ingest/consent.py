"""Consent: what vendors report about it, and the attempts that each consent governs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import redis

from bridge.ingest.event_builder import WITHDRAWN
from bridge.journal.reading import Reader
from bridge.sdk.records import Consent, NormalisedAttempt
from bridge.state import keys, scripts
from bridge.state.errors import state_errors
from bridge.state.stored_json import record_or_none
from schemas.event import Assessment, Candidate, Result

__all__ = ["Consents", "voided_attempt"]

#: Higher than any vendor's order, so that a later version of a withdrawn attempt is stale.
_LAST_ORDER = 2**40 - 1


class Consents:
    """Consent of all sources. Every method raises `StateUnavailable`."""

    def __init__(self, client: redis.Redis, reader: Reader, *, remember_seconds: float) -> None:
        self.client = client
        self._reader = reader
        self._record = scripts.register(client, __file__, "record_consent")
        self._remember = math.ceil(remember_seconds)

    def record(self, source: str, consent: Consent, *, now: float) -> int:
        """Store a statement about a consent; returns the number of the withdrawal in force, 0 while it is given.

        Copies and older statements change nothing, so the number stays the same however often a withdrawal comes.
        """
        args = [consent.key, "g" if consent.given else "w", "" if consent.at is None else repr(consent.at), repr(now)]
        with state_errors():
            return cast("int", self._record(keys=[keys.consent(source)], args=args))

    def forget_given(self, source: str, *, before: float) -> int:
        """Delete consent given before a moment; returns the number deleted. A withdrawal is never deleted."""
        deleted = 0
        with state_errors():
            for key, value in self.client.hscan_iter(keys.consent(source), count=500):
                state, at, _ = value.split(b"|")
                if state == b"g" and float(at) < before:
                    deleted += self.client.hdel(keys.consent(source), key)
        return deleted

    def withdrawn_keys(self, source: str, attempts: Iterable[NormalisedAttempt]) -> set[str]:
        """The consent keys of the attempts that are withdrawn."""
        governing = list({key for attempt in attempts for key in attempt.consent})
        if not governing:
            return set()
        with state_errors():
            values = cast("list[bytes | None]", self.client.hmget(keys.consent(source), governing))
        return _withdrawn(governing, values)

    def register_attempts(self, source: str, attempts: Sequence[NormalisedAttempt]) -> set[str]:
        """Store which attempts each consent governs; returns the withdrawn consent keys, as `withdrawn_keys` does.

        Call it before publishing: a later withdrawal then finds all attempts. One round trip; none if the vendor does
        not report consent.
        """
        governed = [(key, attempt) for attempt in attempts for key in attempt.consent]
        if not governed:
            return set()
        governing = list(dict(governed))
        with state_errors():
            pipe = self.client.pipeline(transaction=False)
            for key, attempt in governed:
                name = keys.consented(source, key)
                pipe.hset(name, attempt.attempt_id, _json(attempt.assessment))
                pipe.expire(name, self._remember)
            pipe.hmget(keys.consent(source), governing)
            values = cast("list[bytes | None]", pipe.execute()[-1])
        return _withdrawn(governing, values)

    def registered_attempts(self, source: str, key: str) -> dict[str, Assessment]:
        """The attempts that a consent governs, published or not: attempt id -> assessment."""
        with state_errors():
            stored = cast("dict[bytes, bytes]", self.client.hgetall(keys.consented(source, key)))
        # A consent also governs an attempt whose assessment cannot be read.
        return {
            attempt_id.decode(): record_or_none(Assessment, value, place=keys.consented(source, ""))
            or Assessment(id="")
            for attempt_id, value in stored.items()
        }

    def published(self, source: str, attempts: Mapping[str, Assessment]) -> dict[str, Assessment]:
        """Those of the attempts that were published."""
        return {
            attempt_id: assessment
            for attempt_id, assessment in attempts.items()
            if self._reader.attempt(source, attempt_id) is not None
        }


def voided_attempt(attempt_id: str, assessment: Assessment) -> NormalisedAttempt:
    """A published attempt after its consent was withdrawn: no result, no personal data."""
    return NormalisedAttempt(
        attempt_id=attempt_id,
        status="voided",
        candidate=Candidate(),
        assessment=assessment,
        result=Result(grading="not_scored"),
        flags=(WITHDRAWN,),
        order=_LAST_ORDER,
    )


def _withdrawn(governing: Sequence[str], values: Sequence[bytes | None]) -> set[str]:
    return {key for key, value in zip(governing, values, strict=True) if value and value.startswith(b"w")}


def _json(assessment: Assessment) -> str:
    group = assessment.group
    return json.dumps(
        {
            "id": assessment.id,
            "name": assessment.name,
            "group": None if group is None else {"kind": group.kind, "id": group.id, "name": group.name},
        }
    )
