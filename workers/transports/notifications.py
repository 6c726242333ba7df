"""Transport `notify`: messages to people, through the services of Apprise. The events of one `send` are one message."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import sha256

import structlog

from bridge import clock
from bridge.config.model import Subscription
from bridge.errors import ConfigError, DeliveryFailed
from bridge.notify.messages import Message, Messages
from bridge.notify.services import open_services
from bridge.notify.templates import TemplateProblem
from workers.transports.contract import Outcome, Outgoing, ShownRequest, Try
from workers.transports.faults import unexpected_failure

__all__ = ["Notifications"]

#: Longest time of one message to all services, seconds: less than an operator waits for a test.
_SECONDS = 40.0
#: Most messages for which it is remembered which services have them.
_REMEMBERED = 1_000

_log = structlog.get_logger(__name__)


class Notifications:
    """While the process lives, no service gets a message twice because another has refused it."""

    batch = 1

    def __init__(self, subscription: Subscription) -> None:
        """Raises `ConfigError`."""
        where = f"subscriptions.{subscription.name}"
        self._name = subscription.name
        self._services = open_services(
            subscription.urls, where=f"{where}.urls", allow_private=subscription.allow_private
        )
        try:
            self._messages = Messages(subscription.templates, subscription.public_url, on_problem=self._report)
        except TemplateProblem as problem:
            raise ConfigError(f"{where}.templates: {problem}") from problem
        #: Id of a message -> places of the services that have accepted it.
        self._accepted: OrderedDict[str, set[int]] = OrderedDict()

    def send(self, events: Sequence[Outgoing], *, now: float) -> list[Try]:
        """Send one message about all of the events; each gets the same try."""
        started = clock.monotonic()
        try:
            messages = {mail: self._message(events, mail=mail) for mail in {each.is_mail for each in self._services}}
        except (ValueError, KeyError) as error:
            text = f"the event cannot be read: {type(error).__name__}"
            failed: Outcome = DeliveryFailed(text, reason="unreadable_event", permanent=True, about_event=True)
            return [Try(failed, now, 0.0)] * len(events)
        accepted = self._accepted_by(events)
        failures: list[DeliveryFailed] = []
        status = None
        for place, service in enumerate(self._services):
            if place in accepted:
                continue
            left = _SECONDS - (clock.monotonic() - started)
            if left <= 0:
                failures.append(DeliveryFailed(f"{service.name}: no time was left", reason="unreachable"))
                continue
            answered = None
            try:
                failure, answered = service.send(messages[service.is_mail], seconds=left, now=now)
            except Exception as error:  # noqa: BLE001 - a service may answer anything; the others get the message
                failure = unexpected_failure(error, subscription=self._name, service=service.name)
            # With several services: the answer of the first that failed.
            status = status if failures else answered
            if failure is None:
                accepted.add(place)
            else:
                failures.append(failure)
        outcome = _outcome(failures)
        answer = b"" if failures else f"accepted by {self._names()}".encode()
        return [Try(outcome, now, clock.monotonic() - started, status, answer)] * len(events)

    def shown(self, event: Outgoing, *, now: float) -> ShownRequest:
        """The services by name, and the message as a chat gets it."""
        message = self._message([event], mail=all(each.is_mail for each in self._services))
        return ShownRequest(self._names(), {}, f"{message.title}\n\n{message.body}".encode())

    def close(self) -> None:
        """Nothing stays open between two messages."""

    def _names(self) -> str:
        return ", ".join(service.name for service in self._services)

    def _message(self, events: Sequence[Outgoing], *, mail: bool) -> Message:
        return self._messages.of([(event.body, bool(event.replay)) for event in events], mail=mail)

    def _report(self, name: str, problem: TemplateProblem) -> None:
        _log.warning("notify_template_failed", subscription=self._name, template=name, problem=str(problem))

    def _accepted_by(self, events: Sequence[Outgoing]) -> set[int]:
        ids = "\n".join(sorted(f"{event.id} {event.replay}" for event in events))
        name = sha256(ids.encode()).hexdigest()
        accepted = self._accepted.setdefault(name, set())
        self._accepted.move_to_end(name)
        if len(self._accepted) > _REMEMBERED:
            self._accepted.popitem(last=False)
        return accepted


def _outcome(failures: Sequence[DeliveryFailed]) -> Outcome:
    """The outcome of the message: it is given up only if no failed service may accept it later."""
    if not failures:
        return None
    worst = next((failure for failure in failures if not failure.permanent), failures[0])
    if len(failures) == 1:
        return worst
    return DeliveryFailed(
        f"{worst} (and {len(failures) - 1} more)",
        reason=worst.reason,
        permanent=worst.permanent,
        retry_after=worst.retry_after,
        about_event=worst.about_event,
    )
