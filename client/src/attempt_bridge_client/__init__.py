"""For services that receive the events of Attempt Bridge. It does not need the bridge's own package.

Each framework has its own module and its own extra: `celery_task`, `flask_view`, `fastapi_router`, `redis_stream`.
"""

from __future__ import annotations

from attempt_bridge_client.errors import ConfigurationError, EventRejected, ReceiptFailed
from attempt_bridge_client.events import AttemptEvent, Event, Notice
from attempt_bridge_client.idempotency import DUPLICATE, NEW, SUPERSEDED, create_tables_sql, idempotent, mark
from attempt_bridge_client.receipts import Receipt, confirmed_by, queue_receipt, receipt
from attempt_bridge_client.signature import Verifier, sign, verify

__all__ = [
    "DUPLICATE",
    "NEW",
    "SUPERSEDED",
    "AttemptEvent",
    "ConfigurationError",
    "Event",
    "EventRejected",
    "Notice",
    "Receipt",
    "ReceiptFailed",
    "Verifier",
    "confirmed_by",
    "create_tables_sql",
    "idempotent",
    "mark",
    "queue_receipt",
    "receipt",
    "sign",
    "verify",
]

__version__ = "0.1.0"
