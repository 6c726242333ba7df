"""`doctor`: one line per check, with the remedy where one fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, fields

import click

from bridge.cli.api_client import api
from bridge.cli.common import load_services
from bridge.cli.exit_codes import DONE, FAILED, UNAVAILABLE
from bridge.cli.options import format_option
from bridge.cli.output import print_check, print_list
from bridge.monitoring.doctor import FAILURE, Finding, examine

__all__ = ["doctor"]


@click.command()
@format_option
@click.pass_context
def doctor(ctx: click.Context, output: str) -> None:
    """Check the state server, broker, processes and subscriptions.

    With --url, the bridge there checks itself, except its brokers and the addresses of receivers. Exits with 1 if
    something must be fixed, with 69 if the state server or the broker is unreachable.
    """
    findings = []
    for finding in _findings(ctx):
        findings.append(finding)
        if output == "table":
            remedy = f"\n    remedy: {finding.remedy}" if finding.remedy else ""
            print_check(finding.status, f"{finding.name}: {finding.text}{remedy}")
    if output != "table":
        print_list([asdict(finding) for finding in findings], (), output, empty="nothing was checked")
    if any(finding.unreachable for finding in findings):
        ctx.exit(UNAVAILABLE)
    ctx.exit(FAILED if any(finding.status == FAILURE for finding in findings) else DONE)


def _findings(ctx: click.Context) -> Iterator[Finding]:
    """The findings here, each when it is made; with `--url` those of the bridge there."""
    if ctx.find_root().params.get("url") is None:
        yield from examine(load_services())
        return
    for row in api().call("GET", "health")["findings"]:
        yield Finding(**{member.name: row[member.name] for member in fields(Finding)})
