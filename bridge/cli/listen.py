"""`listen`: posts events to a receiver under development, signed as a subscription signs them."""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import Any

import click

from bridge import clock
from bridge.cli.api_client import api
from bridge.cli.following import follow
from bridge.cli.options import filter_option, since_option
from bridge.cli.output import iso, say
from bridge.errors import DeliveryFailed
from bridge.net.push_client import Client
from bridge.net.standard_webhooks import Signer, SigningSecret, new_hmac_secret, secret_problem
from bridge.settings import environment
from schemas.event import MEDIA_TYPE

__all__ = ["listen"]


@click.command()
@click.option("--forward-to", "url", required=True, metavar="URL", help="Address of the receiver.")
@click.option("--secret-env", metavar="NAME", help="Environment variable with the secret; default: a new secret.")
@filter_option
@since_option
def listen(url: str, secret_env: str | None, filter_: str | None, since: float | None) -> None:
    """Post events to a receiver under development as they are published. Ctrl-C ends it; --since adds earlier ones.

    Each is posted once and signed as an http subscription signs it (Standard Webhooks). For development: nothing is
    sent again. Prints time, type, attempt, status and duration.
    """
    secret = _secret(secret_env)
    try:
        client = Client(url, allow_private=True)
    except DeliveryFailed as error:
        raise click.UsageError(f"--forward-to: {error}") from error
    signer = Signer([SigningSecret(secret)])
    if secret_env is None:
        say(f"secret {secret}")
    with asyncio.Runner() as runner:
        try:
            for row in follow(api(), {"filter": filter_, "since": iso(since)}):
                click.echo("  ".join(_forwarded(runner, client, signer, row)))
        finally:
            client.close()


def _forwarded(runner: asyncio.Runner, client: Client, signer: Signer, row: dict[str, Any]) -> list[str]:
    """Post the event, and describe what happened."""
    body = json.dumps(row["event"], ensure_ascii=False).encode()
    headers = signer.headers(row["id"], body, clock.now())
    began = clock.monotonic()
    try:
        answer = runner.run(client.post(body, {"content-type": MEDIA_TYPE, **headers}))
        outcome = str(answer.status)
    except DeliveryFailed as error:
        outcome = f"failed: {error}"
    duration = f"{(clock.monotonic() - began) * 1000:.0f} ms"
    return [iso(clock.now()) or "", row["type"], row["attempt"], outcome, duration]


def _secret(name: str | None) -> str:
    """The secret of the environment, or a new one. Raises `click.UsageError`."""
    if name is None:
        return new_hmac_secret(secrets.token_bytes(32))
    secret = environment().get(name, "")
    problem = secret_problem(secret)
    if problem:
        raise click.UsageError(f"--secret-env: {name} {problem}")
    return secret
