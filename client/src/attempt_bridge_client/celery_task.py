"""A base class for the Celery task of a celery subscription."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Optional

from celery import Task

from attempt_bridge_client.events import Event
from attempt_bridge_client.receipts import Receipt, send_quietly

__all__ = ["EventTask"]


class EventTask(Task):
    """`@app.task(base=EventTask, name="gradebook.attempt_completed")`: the function gets an `Event` instead of a dict.

    The task is acknowledged after it has run, so it runs again if its worker is killed meanwhile: use `idempotent`. A
    task that raises has failed and is not retried automatically: require receipts, or set `autoretry_for`. Raises
    `EventRejected` for an argument that is not an event.
    """

    abstract = True
    acks_late = True
    reject_on_worker_lost = True
    ignore_result = True
    #: Whether events about invented attempts, and tests of the subscription, are handled too.
    tests: ClassVar[bool] = False
    #: Confirms each event after the task has run; set it in a subclass, or by `@app.task(..., receipt=receipt(...))`.
    receipt: ClassVar[Optional[Receipt]] = None

    def __call__(self, event: Mapping[str, Any]) -> Any:
        """What Celery calls."""
        read = Event.from_mapping(event)
        result = self.run(read) if self.tests or not read.bridgetest else None
        send = type(self).receipt  # read from an instance, a function would become a method
        if send is not None:
            send_quietly(send, read)
        return result
