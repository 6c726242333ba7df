"""`doctor`: what the bridge stands on, one line per finding, with the remedy."""

from __future__ import annotations

from dataclasses import asdict

import click

from bridge.cli.common import format_option, load_services
from bridge.cli.output import print_list

__all__ = ["doctor"]

_MARKS = {"ok": "[+]", "warning": "[!]", "failure": "[-]"}
_COLOURS = {"ok": "green", "warning": "yellow", "failure": "red"}


@click.command()
@format_option
@click.pass_context
def doctor(ctx: click.Context, output: str) -> None:
    """Examine state, broker, processes and subscriptions; say how to mend each.

    Ends with 1 if something must be mended, 69 if state or broker cannot be reached.
    """
    from bridge.monitoring.doctor import FAILURE, examine  # noqa: PLC0415 - `--help` must be quick

    findings = []
    for finding in examine(load_services()):
        findings.append(finding)
        if output == "table":
            mark = click.style(_MARKS[finding.status], fg=_COLOURS[finding.status])
            remedy = f"\n    remedy: {finding.remedy}" if finding.remedy else ""
            click.echo(f"{mark} {finding.name}: {finding.text}{remedy}")
    if output != "table":
        print_list([asdict(finding) for finding in findings], (), output, empty="nothing was examined")
    if any(finding.unreachable for finding in findings):
        ctx.exit(69)
    ctx.exit(1 if any(finding.status == FAILURE for finding in findings) else 0)
