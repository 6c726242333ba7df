"""`sources test`: log in at a vendor and read one page of each stream, without publishing anything."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from http import HTTPStatus
from typing import Any

import click

from bridge.cli.api_client import Api, ApiProblem, CallFailed, api, path_of
from bridge.cli.common import services_over_state
from bridge.cli.exit_codes import DONE, FAILED, UNAVAILABLE
from bridge.cli.options import format_option, known_name
from bridge.cli.output import print_check, print_object
from bridge.cli.worker_jobs import POLL_SECONDS, NoWorker

__all__ = ["test"]


@click.command()
@click.argument("name")
@format_option
@click.pass_context
def test(ctx: click.Context, name: str, output: str) -> None:
    """Log in at the vendor and read one page of each stream; publish nothing, move no cursor.

    Exits with 1 if a step fails. Uses a few calls of the source's budget. With --url a worker of that bridge does it.
    """
    bridge = api()
    done = []
    for step in _by_worker(bridge, name) if bridge.is_remote else _here(name):
        done.append(step)
        if output == "table":
            print_check(step["status"], f"{step['name']}: {step['text']}")
    failed = any(step["status"] == "failure" for step in done)
    if output != "table":
        print_object({"source": name, "ok": not failed, "steps": done}, output)
    ctx.exit(FAILED if failed else DONE)


def _here(name: str) -> Iterator[dict[str, Any]]:
    """The steps, done by this process: the bridge need not run."""
    from workers.polling.source_test import steps  # noqa: PLC0415 - with --url nothing of it is needed

    services = services_over_state()
    source = services.config.sources[known_name(name, services.config.sources, "source")]
    yield from map(asdict, steps(services, source))


def _by_worker(bridge: Api, name: str) -> Iterator[dict[str, Any]]:
    """The steps, each as soon as a worker has done it."""
    try:
        row = bridge.call("POST", path_of("sources", name, "test"))
    except ApiProblem as problem:
        if problem.status == HTTPStatus.NOT_FOUND:
            raise click.UsageError(problem.detail) from problem
        if problem.status == HTTPStatus.CONFLICT:
            # No worker runs.
            raise CallFailed(problem.detail, UNAVAILABLE) from problem
        raise
    shown, no_worker = 0, NoWorker(row["id"])
    while True:
        yield from row["steps"][shown:]
        shown = len(row["steps"])
        if row["state"] not in ("waiting", "running"):
            break
        no_worker.check(row)
        time.sleep(POLL_SECONDS)
        row = bridge.call("GET", path_of("sources", name, "tests", row["id"].partition("/")[2]))
    if row["error"]:
        raise CallFailed(f"{row['id']} failed: {row['error']}", FAILED)
