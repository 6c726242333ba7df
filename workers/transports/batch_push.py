"""Transport `http` with `format: xapi` or `caliper`: events that wait are sent together, many in one request.

The window hands over one event of an attempt at a time, so each event of a request is of a different attempt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bridge import clock
from bridge.errors import DeliveryFailed
from schemas.formats import XAPI
from schemas.iris import derived_id
from workers.transports.contract import Outgoing, Try
from workers.transports.http_push import HttpPush, Waiting

__all__ = ["BatchPush"]

#: A proxy in front of the receiver may refuse more than 1 MB.
_MOST_BYTES = 512 * 1024
#: Answers that refuse the content, not the sender; one bad statement makes an LRS refuse a whole request.
_REFUSED = (400, 409, 413, 422)
_CONFLICT, _INVALID = 409, (400, 422)
#: No further request is begun after this many seconds: other processes may take the events after `Limits.lease`.
_SECONDS = 60.0


class BatchPush(HttpPush):
    """Few requests at a time, so that events gather meanwhile. A refused one is halved until bad events are alone."""

    most_requests = 4
    most_events = 50

    async def _send(self, taken: Sequence[Waiting]) -> list[Try]:
        began = clock.monotonic()
        tries: dict[int, Try] = {}
        # The last part is the next one to be sent.
        parts = _requests(taken)[::-1]
        stopped: Try | None = None
        while parts:
            part = parts.pop()
            tried = stopped or await self._part(part, late=clock.monotonic() - began > _SECONDS)
            if len(part) > 1 and (tried.status in _REFUSED or self._is_partial(tried)):
                half = len(part) // 2
                parts += [part[half:], part[:half]]
                continue
            tries |= {number: tried for number, *_ in part}
            if tried.failure is not None and not tried.failure.about_event:
                # The receiver is at fault: what was not sent shares its failure.
                stopped = replace(tried, seconds=0.0)
        return [tries[number] for number, *_ in taken]

    async def _part(self, part: Sequence[Waiting], *, late: bool) -> Try:
        _, first, now, at = part[0]
        now += clock.monotonic() - at
        if late:
            text = f"not sent: the requests before it took {_SECONDS:g} s. Make the receiver faster"
            return Try(DeliveryFailed(text, reason="timeout"), now, 0.0)
        if len(part) == 1:
            return await self._alone(first, now)
        events = [event for _, event, *_ in part]
        return await self._post(events, derived_id(*(event.id for event in events)), now)

    async def _alone(self, event: Outgoing, now: float) -> Try:
        """Send one event; if it is refused, send each of its statements until one is refused."""
        tried = await self._post([event], event.id, now)
        statements = self._format.parts(event.body)
        if len(statements) == 1 or tried.status not in _REFUSED:
            return self._judged(tried)
        for place, statement in enumerate(statements):
            # A gateway that remembers ids must not take the second statement for a copy of the first.
            ident = derived_id(event.id, str(place))
            posted = await self._post([replace(event, body=statement)], ident, now + tried.seconds)
            tried = replace(self._judged(posted), at=now, seconds=tried.seconds + posted.seconds)
            if tried.failure is not None:
                break
        return tried

    def _is_partial(self, tried: Try) -> bool:
        """Whether an LRS has stored only some of the statements, as a few can be set to do: they answer no list."""
        return self._format.name == XAPI and tried.failure is None and tried.answer.lstrip()[:1] == b"{"

    def _judged(self, tried: Try) -> Try:
        """The try of one statement: if the LRS has it, it counts as stored; if it is invalid, it never will be."""
        if tried.failure is None or self._format.name != XAPI:
            return tried
        if tried.status == _CONFLICT:
            return replace(tried, failure=None)
        if tried.status in _INVALID:
            failure = DeliveryFailed(str(tried.failure), reason=tried.failure.reason, permanent=True, about_event=True)
            return replace(tried, failure=failure)
        return tried


def _requests(events: Sequence[Waiting]) -> list[Sequence[Waiting]]:
    """Events as requests: none larger than a proxy accepts, each with events of one replay, which a header names."""
    requests: list[list[Waiting]] = []
    size, replay = 0, None
    for waiting in events:
        event = waiting[1]
        size += len(event.body)
        if not requests or size > _MOST_BYTES or event.replay != replay:
            requests.append([])
            size, replay = len(event.body), event.replay
        requests[-1].append(waiting)
    return list(requests)
