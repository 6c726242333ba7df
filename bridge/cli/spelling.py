"""What people type from habit: global options behind a command, and words that are spelled differently here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["COMMANDS", "OPTIONS", "SUBCOMMANDS", "moved_to_front"]

#: Word in place of a command -> the command that does it.
COMMANDS: Mapping[str, str] = {
    "status": "doctor",
    "health": "doctor",
    "check": "config check",
    "init": "config init",
    "start": "up",
    "run": "up",
    "serve": "web",
    "server": "web",
    "logs": "events tail",
    "tail": "events tail",
    "webhooks": "requests",
    "attempts": "events",
    "dlq": "dead-letters",
    "deadletters": "dead-letters",
    "replay": "dead-letters replay",
    "send": "trigger",
    "test": "sources test",
    "token": "tokens",
    "expect": "watches add",
    "schemas": "schema",
}
#: Word in place of a subcommand -> its names here; the first that the group has is suggested.
SUBCOMMANDS: Mapping[str, tuple[str, ...]] = {
    "ls": ("list",),
    "get": ("show",),
    "describe": ("show",),
    "follow": ("tail",),
    "watch": ("tail", "list"),
    "create": ("add", "new"),
    "register": ("add",),
    "rm": ("cancel",),
    "remove": ("cancel", "forget"),
    "delete": ("cancel", "forget"),
    "retry": ("replay", "resume"),
    "validate": ("check",),
    "start": ("resume",),
    "enable": ("resume",),
    "disable": ("pause",),
    "stop": ("pause",),
}
#: Option that a command does not have -> what to write instead.
OPTIONS: Mapping[str, str] = {
    "--watch": "All lists have it. Here, run watch attempt-bridge ...",
    "--follow": "Use attempt-bridge events tail",
    "-f": "Use attempt-bridge events tail",
    "--format": "Use -o table, json, jsonl or yaml",
    "--yaml": "Use -o yaml",
    "--jsonl": "Use -o jsonl",
    "--count": "Use --limit",
    "--filter": "See the filters in the command's help",
    "--id": "Give the id without an option",
    "--name": "Give the name without an option",
    "--force": "Use --yes",
    "-y": "Use --yes",
    "--quiet": "Messages go to stderr: add 2>/dev/null",
    "-q": "Messages go to stderr: add 2>/dev/null",
}
#: Global option -> whether it takes a value.
_GLOBAL = {
    "--config": True,
    "--url": True,
    "--token": True,
    "-v": False,
    "--verbose": False,
    "--debug": False,
    "--no-color": False,
}
_GLOBAL |= {"--version": False, "-V": False}


def moved_to_front(arguments: Sequence[str], option: str) -> list[str] | None:
    """The arguments with a global option, which a command has refused, before the command; None for any other option.

    An option that is the value of another one is never refused, so it is not moved.
    """
    if option not in _GLOBAL:
        return None
    for place, argument in enumerate(arguments):
        name, equals, _ = argument.partition("=")
        if name != option or not _is_behind_a_command(arguments[:place]):
            continue
        end = place + 1 + (_GLOBAL[option] and not equals)
        return [*arguments[place:end], *arguments[:place], *arguments[end:]]
    return None


def _is_behind_a_command(before: Sequence[str]) -> bool:
    place = 0
    while place < len(before) and before[place].startswith("-"):
        place += 1 + _GLOBAL.get(before[place], False)
    return place < len(before)
