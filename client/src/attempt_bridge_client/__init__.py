"""For services that receive the events of Attempt Bridge. It knows nothing of the bridge itself.

Frameworks have modules of their own, each with the extra of its name: `celery_task`, `flask_view`, `fastapi_router`,
`redis_stream`.
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
