"""The stock Celery worker of `latency`: notes when each task arrives. Imports nothing of the bridge.

LATENCY_BROKER is its broker, LATENCY_FILE the file it appends `<attempt id> <UNIX seconds>` to.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from celery import Celery

app = Celery("gradebook", broker=os.environ["LATENCY_BROKER"])
app.conf.task_default_queue = "gradebook"
app.conf.task_ignore_result = True
app.conf.broker_connection_retry_on_startup = True
noted = Path(os.environ["LATENCY_FILE"]).open("a", buffering=1)  # noqa: SIM115 - open while the process runs


@app.task(name="gradebook.attempt_completed")
def attempt_completed(event: dict[str, Any]) -> None:
    noted.write(f"{event['subject']} {time.time():.6f}\n")
