"""Texts of bridge.yaml that brokers see: names of queues, exchanges and tasks, and the pattern `routing_key`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from string import Formatter

from bridge.errors import clip

__all__ = ["KEY_BYTES", "broker_name_problem", "routing_key_problems"]

#: Limit of AMQP's short strings, such as queues, exchanges and routing keys; Redis has no relevant limit.
KEY_BYTES = 255
_FIELDS = ("source", "type")


def broker_name_problem(text: str) -> str | None:
    """What is wrong with the name of a queue, an exchange or a task, or None."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return "holds a character that is not text"
    if size > KEY_BYTES:
        return f"has {size} bytes. Remedy: at most {KEY_BYTES}, the limit of AMQP"
    if "\0" in text:
        return "holds a null character. Remedy: remove it"
    return None


def routing_key_problems(text: str, *, types: Iterable[str], sources: Iterable[str]) -> Iterator[str]:
    """What is wrong with the pattern, tried with every event type and source; nothing is yielded for a good one."""
    try:
        parsed = list(Formatter().parse(text))
    except ValueError as error:
        yield f"is not a valid pattern: {clip(error)}; write it like {{type}}.{{source}}"
        return
    unknown = sorted({name for _, name, _, _ in parsed if name is not None and name not in _FIELDS})
    for name in unknown:
        yield f"{{{clip(name, 40)}}} is not known; {{type}} and {{source}} are"
    adorned = sorted({name for _, name, spec, how in parsed if name in _FIELDS and (spec or how)})
    for name in adorned:
        yield f"{{{name}}} takes no format or conversion. Remedy: write {{{name}}}"
    if unknown or adorned:
        return
    keys = [text.format(type=kind, source=source) for kind, source in product(types, sources)]
    worst = max(keys, key=lambda key: len(key.encode(errors="replace")), default=text)
    problem = broker_name_problem(worst)
    if problem is not None:
        yield f'"{clip(worst, 60)}" {problem}'
