"""`tokens new`: a token for the operator API and the metrics."""

from __future__ import annotations

import click

from bridge.cli.common import format_option
from bridge.cli.output import print_one, say

__all__ = ["tokens"]


@click.group()
def tokens() -> None:
    """Make tokens for the operator API and the metrics."""


@tokens.command()
@click.option("--name", required=True, help="Who uses it: a-z, 0-9 and -.")
@click.option("--role", type=click.Choice(["viewer", "operator"]), required=True, help="viewer reads, operator acts.")
@format_option
def new(name: str, role: str, output: str) -> None:
    """Print a new token, and its line for access.tokens in bridge.yaml.

    The token is kept nowhere: bridge.yaml holds its SHA-256 alone. It is accepted once web has started again.
    """
    from bridge.config import access  # noqa: PLC0415 - `--help` must be quick
    from bridge.config.schemas import name_problem  # noqa: PLC0415
    from bridge.net.signatures import sha256_hex  # noqa: PLC0415

    problem = name_problem(name)
    if problem:
        raise click.UsageError(problem)
    token = access.new_token()
    entry = {"name": name, "role": role, "sha256": sha256_hex(token)}
    if output != "table":
        print_one({**entry, "token": token}, output)
        return
    # The token alone on stdout: TOKEN=$(attempt-bridge tokens new ...)
    click.echo(token)
    say("# This goes into bridge.yaml; then start web again. The token is shown this once.")
    say("access:\n  tokens:")
    say(f'    - {{name: {name}, role: {role}, sha256: "{entry["sha256"]}"}}')
