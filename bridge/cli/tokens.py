"""`tokens`: tokens for the API and the metrics."""

from __future__ import annotations

import click

from bridge.cli.options import format_option
from bridge.cli.output import print_object, say
from bridge.config.access import OPERATOR, VIEWER, new_token
from bridge.config.schemas import name_problem
from bridge.net.signatures import sha256_hex

__all__ = ["tokens"]


@click.group()
def tokens() -> None:
    """Create tokens for the API and the metrics."""


@tokens.command()
@click.option("--name", required=True, help="Name of the user: a-z, 0-9 and -.")
@click.option(
    "--role",
    type=click.Choice([VIEWER, OPERATOR]),
    required=True,
    help="Role: a viewer reads, an operator also writes.",
)
@format_option
def new(name: str, role: str, output: str) -> None:
    """Print a new token, and its entry for access.tokens in bridge.yaml.

    The token is stored nowhere; bridge.yaml has only its SHA-256. It is valid after `config reload`.
    """
    problem = name_problem(name)
    if problem:
        raise click.UsageError(problem)
    token = new_token()
    entry = {"name": name, "role": role, "sha256": sha256_hex(token)}
    if output != "table":
        print_object({**entry, "token": token}, output)
        return
    # The token alone on stdout: TOKEN=$(attempt-bridge tokens new ...)
    click.echo(token)
    say("# Add this to bridge.yaml, then run attempt-bridge config reload. The token is not shown again.")
    say("access:\n  tokens:")
    say(f'    - {{name: {name}, role: {role}, sha256: "{entry["sha256"]}"}}')
