"""`tokens`: tokens for the API and the metrics."""

from __future__ import annotations

import click

from bridge.cli.options import format_option
from bridge.cli.output import print_object, say
from bridge.config.access import OPERATOR, RECEIVER, VIEWER, new_token
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
    type=click.Choice([VIEWER, OPERATOR, RECEIVER]),
    required=True,
    help="Role: a viewer reads, an operator also writes, a receiver confirms the events of one subscription.",
)
@click.option("--subscription", help="Subscription of a receiver.")
@format_option
def new(name: str, role: str, subscription: str | None, output: str) -> None:
    """Print a new token, and its entry for access.tokens in bridge.yaml.

    The token is not stored anywhere; bridge.yaml has only its SHA-256. It is valid after `config reload`.
    """
    problem = name_problem(name) or (subscription and name_problem(subscription))
    if problem:
        raise click.UsageError(problem)
    if (role == RECEIVER) != (subscription is not None):
        raise click.UsageError("role receiver needs --subscription; no other role takes it")
    token = new_token()
    bound = {} if subscription is None else {"subscription": subscription}
    entry = {"name": name, "role": role, **bound, "sha256": sha256_hex(token)}
    if output != "table":
        print_object({**entry, "token": token}, output)
        return
    # Only the token goes to stdout: TOKEN=$(attempt-bridge tokens new ...)
    click.echo(token)
    say("# Add this to bridge.yaml, then run attempt-bridge config reload. The token is not shown again.")
    say("access:\n  tokens:")
    more = "".join(f", {member}: {value}" for member, value in bound.items())
    say(f'    - {{name: {name}, role: {role}{more}, sha256: "{entry["sha256"]}"}}')
