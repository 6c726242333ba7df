"""`completion`: a shell script that completes commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

__all__ = ["completion"]


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a shell completion script.

    For bash: attempt-bridge completion bash > ~/.local/share/bash-completion/completions/attempt-bridge
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise AssertionError(f"click has no completion for {shell}")
    click.echo(kind(ctx.find_root().command, {}, "attempt-bridge", "_ATTEMPT_BRIDGE_COMPLETE").source())
