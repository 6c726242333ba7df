"""`demo`: a real bridge with simulated vendors, a class of candidates and four subscribers, on this machine alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

__all__ = ["demo"]


class _Share(click.ParamType[float]):
    """`10%` or `0.1`: a share from 0 to 1."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            share = float(value[:-1]) / 100 if value.endswith("%") else float(value)
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1:
            self.fail(f'"{value}" is no share; write it like 10% or 0.1', param, ctx)
        return share


class _Seconds(click.ParamType[float]):
    """`250ms`, `5s`, `2m`: seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from bridge.text import parse_duration  # noqa: PLC0415

        if isinstance(value, float):
            return value
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _chosen(ctx: click.Context, param: click.Parameter, given: str | None) -> tuple[str, ...]:
    from bridge.cli.common import known_name  # noqa: PLC0415 - `--help` must be quick
    from bridge.registry import vendors  # noqa: PLC0415

    wanted = [name.strip() for name in given.split(",") if name.strip()] if given else list(vendors())
    return tuple(dict.fromkeys(known_name(name, vendors(), "vendor") for name in wanted))


@click.command()
@click.option("--attempts", type=click.IntRange(1), help="So many attempts; without end if not given (--once: 100).")
@click.option("--vendors", callback=_chosen, help="Only these, with commas: classmarker,cirrus; all if not given.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Another seed, another class.")
@click.option("--lose", type=_Share(), default="10%", show_default=True, help="Share of webhooks that never come.")
@click.option("--duplicate", type=_Share(), default="15%", show_default=True, help="Share of webhooks sent twice.")
@click.option("--delay", type=_Seconds(), default="5s", show_default=True, help="Webhooks come up to so much late.")
@click.option("--reorder", is_flag=True, help="Late webhooks may overtake each other.")
@click.option(
    "--fail-subscriber", type=_Share(), default="20%", show_default=True, help="Share of events that the crm refuses."
)
@click.option("--once", is_flag=True, help="Stop when all attempts are everywhere; exit 1 if some never are.")
@click.option(
    "--patience", type=_Seconds(), default="60s", show_default=True, help="How long --once waits after the last one."
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("data/demo"),
    show_default=True,
    help="What is kept from run to run.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address that web listens on.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port of web; 8080 if not given (--once: any free one).")
def demo(once: bool, attempts: int | None, data_dir: Path, host: str, port: int | None, **conditions: Any) -> None:
    """Run a real bridge between simulated vendors and four subscribers until Ctrl-C.

    Webhooks get lost, doubled, late; a subscriber refuses events: still every attempt arrives, and is published once.
    """
    from bridge.sandbox.conditions import Conditions  # noqa: PLC0415 - `--help` must be quick
    from bridge.sandbox.demo import run  # noqa: PLC0415

    chosen = Conditions(once=once, attempts=attempts or (100 if once else None), **conditions)
    click.get_current_context().exit(run(chosen, data_dir, host, (0 if once else 8080) if port is None else port))
