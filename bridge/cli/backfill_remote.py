"""Backfills that a worker of the bridge runs, made and followed over its API."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, NoReturn

from bridge import clock
from bridge.cli.api_client import Api, ApiProblem, path_of
from bridge.cli.backfill_output import finish, finish_dry_run, reprocess_preview
from bridge.cli.options import confirm_broad
from bridge.cli.progress import Screen, stoppable
from bridge.cli.worker_jobs import POLL_SECONDS, NoWorker
from bridge.polling.backfill_jobs import Backfill

__all__ = ["make", "resume"]

_OPEN = ("waiting", "running")


def make(bridge: Api, body: Mapping[str, Any], *, yes: bool) -> NoReturn:
    """Have a worker read a period, or preview it; ends the command with its exit code."""
    is_dry = body["dry_run"]
    if body["reprocess"] != "none" and not (is_dry or yes):
        # It reads no page, and counts what is stored.
        counted = _follow(bridge, bridge.call("POST", "backfills", body={**body, "dry_run": True, "streams": []}))
        stored = counted["stored"] or {"quarantined": 0, "requests": 0}
        confirm_broad(yes, reprocess_preview(stored["quarantined"], stored["requests"]))
    row = _follow(bridge, bridge.call("POST", "backfills", body=body))
    if not is_dry or row["state"] == "failed":
        finish(row)
    stored = row["stored"] if body["reprocess"] != "none" else None
    counts = None if stored is None else (stored["quarantined"], stored["requests"])
    finish_dry_run(row, stored=counts, interrupted=row["state"] != "done")


def resume(bridge: Api, ident: str) -> NoReturn:
    """Have a worker continue a backfill; ends the command with its exit code."""
    finish(_follow(bridge, bridge.call("POST", path_of("backfills", *ident.split("/", 1), "resume"))))


def _follow(bridge: Api, row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Show the progress until it ends. The first Ctrl-C stops it after the current page."""
    where = path_of("backfills", *row["id"].split("/", 1))
    no_worker, is_asked = NoWorker(row["id"]), False
    with stoppable("stopping after the current page") as stop, Screen(row["progress"] or 0.0) as screen:
        while row["state"] in _OPEN:
            _show(screen, row)
            no_worker.check(row)
            stop.wait(POLL_SECONDS)
            if stop.is_set() and not is_asked:
                is_asked = True
                _stop(bridge, where)
            elif is_asked:
                time.sleep(POLL_SECONDS)
            row = bridge.call("GET", where)
        _show(screen, row)
    return row


def _stop(bridge: Api, where: str) -> None:
    try:
        bridge.call("POST", f"{where}/stop")
    except ApiProblem as problem:
        if problem.status != HTTPStatus.CONFLICT:
            raise
        # It has ended meanwhile.


def _show(screen: Screen, row: Mapping[str, Any]) -> None:
    job = Backfill(
        id=row["id"],
        source=row["source"],
        first=0.0,
        last=0.0,
        streams=[],
        pages=row["pages"],
        records=row["records"],
        outcomes=row["outcomes"],
    )
    until = None if row["waits_until"] is None else datetime.fromisoformat(row["waits_until"]).timestamp()
    screen.update(job, row["progress"] or 0.0, row["calls_left"] or 0, row["waits"] or None, until, clock.now())
