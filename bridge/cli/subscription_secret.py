"""`subscriptions secret`: a new secret with which an http subscription signs."""

from __future__ import annotations

import secrets

import click

from bridge.cli.options import format_option
from bridge.cli.output import print_object, say
from bridge.net.standard_webhooks import new_ed25519_secret, new_hmac_secret, public_key_of

__all__ = ["secret"]

_MAKERS = {"hmac": new_hmac_secret, "ed25519": new_ed25519_secret}


@click.command()
@click.option(
    "--type",
    "kind",
    type=click.Choice(list(_MAKERS)),
    default="hmac",
    show_default=True,
    help="Kind: with hmac the receiver has the same secret, with ed25519 only the public key.",
)
@format_option
def secret(kind: str, output: str) -> None:
    """Print a new secret for an http subscription; with --type ed25519 also its public key.

    It is not stored anywhere. Put it into the environment or a file, and refer to that under secrets in bridge.yaml.
    """
    made = _MAKERS[kind](secrets.token_bytes(32))
    public = public_key_of(made)
    if output != "table":
        print_object({"secret": made, "public_key": public}, output)
        return
    # Only the secret goes to stdout: SECRET=$(attempt-bridge subscriptions secret)
    click.echo(made)
    if public is not None:
        say(f"# The public key, for the receiver: {public}")
