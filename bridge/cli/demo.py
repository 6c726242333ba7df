"""`demo`: a real bridge with simulated vendors, candidates and subscribers, all on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bridge.cli.options import DEFAULT_PORT, Share, host_option, known_name, known_vendor
from bridge.registry import broken, vendors
from bridge.sandbox.conditions import OUTPUTS, Conditions
from bridge.sandbox.demo import run
from bridge.text import parse_duration

__all__ = ["demo"]


class _Seconds(click.ParamType[float]):
    """`250ms`, `5s`, `2m`: seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:

        if isinstance(value, float):
            return value
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _vendor_names(ctx: click.Context, param: click.Parameter, given: str | None) -> tuple[str, ...]:
    names = [name.strip() for name in given.split(",") if name.strip()] if given else list(vendors())
    return tuple(dict.fromkeys(known_vendor(name, vendors(), broken()) for name in names))


def _outputs(ctx: click.Context, param: click.Parameter, given: str | None) -> tuple[str, ...]:
    names = [name.strip() for name in (given or "").split(",") if name.strip()]
    return tuple(dict.fromkeys(known_name(name, OUTPUTS, "output") for name in names))


@click.command()
@click.option("--attempts", type=click.IntRange(1), help="Number of attempts; default: endless (--once: 100).")
@click.option("--vendors", callback=_vendor_names, help="Comma-separated: classmarker,cirrus; default: all.")
@click.option(
    "--with",
    "outputs",
    callback=_outputs,
    metavar="OUTPUTS",
    help=f"Further outputs, comma-separated: {', '.join(OUTPUTS)} (table, chat, record store).",
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of the random numbers.")
@click.option("--lose", type=Share(), default="10%", show_default=True, help="Share of webhooks lost.")
@click.option("--duplicate", type=Share(), default="15%", show_default=True, help="Share of webhooks sent twice.")
@click.option("--delay", type=_Seconds(), default="5s", show_default=True, help="Maximum delay of webhooks.")
@click.option("--reorder", is_flag=True, help="Deliver delayed webhooks out of order.")
@click.option(
    "--fail-subscriber",
    type=Share(),
    default="20%",
    show_default=True,
    help="Share of events that crm refuses.",
)
@click.option("--once", is_flag=True, help="Stop when all attempts have arrived; exit with 1 if some never do.")
@click.option(
    "--patience",
    type=_Seconds(),
    default="60s",
    show_default=True,
    help="How long --once waits after the last attempt.",
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("data/demo"),
    show_default=True,
    help="Directory kept between runs.",
)
@host_option
@click.option(
    "--port", type=click.IntRange(0, 65535), help=f"Port; 0: any free port; default: {DEFAULT_PORT}; 0 with --once."
)
def demo(once: bool, attempts: int | None, data_dir: Path, host: str, port: int | None, **conditions: Any) -> None:
    """Run a bridge with simulated vendors and subscribers until Ctrl-C.

    Webhooks are lost, duplicated and delayed, and a subscriber refuses events; still, every attempt is published once
    and reaches every subscriber.
    """
    if port is None:
        port = 0 if once else DEFAULT_PORT
    chosen = Conditions(once=once, attempts=attempts or (100 if once else None), **conditions)
    click.get_current_context().exit(run(chosen, data_dir, host, port))
