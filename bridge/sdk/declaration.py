"""Checks the declaration of a vendor before anything in it is used."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bridge.sdk.vendor import Credential, FactSheet, Option, Poll, Quota, Vendor
from bridge.text import parse_time_of_day

__all__ = ["declaration_problem"]

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", re.ASCII)


def declaration_problem(vendor: object) -> str | None:
    """The first problem, as "fact: value. Remedy: ...", or None. `vendor`: whatever a package exports as `VENDOR`."""
    if not isinstance(vendor, Vendor):
        return f"VENDOR is of type {type(vendor).__name__}. Remedy: VENDOR = Vendor(...) of bridge.sdk.vendor"
    return next(_wrong_types(vendor), None) or next(_contradictions(vendor), None)


def _wrong_types(vendor: Vendor) -> Iterator[str]:
    for name, (fits, words) in _MEMBERS.items():
        value = getattr(vendor, name)
        if not fits(value):
            yield f"{name} is of type {type(value).__name__}. Remedy: make it {words}"
    for stream, poll in vendor.polls.items():
        for name in ("fetch", "rewind", "start", "position"):
            if not callable(getattr(poll, name)):
                yield f'polls["{stream}"].{name} is not a function. Remedy: make it one'


def _contradictions(vendor: Vendor) -> Iterator[str]:
    if not _NAME.fullmatch(vendor.name):
        yield f'name is "{vendor.name}". Remedy: use lower-case words and digits with hyphens between them'
    if not (_number(vendor.quota.calls) and _number(vendor.quota.per_seconds)):
        yield "quota: calls and per_seconds must be above 0. Remedy: write what the vendor allows"
    if vendor.quota.resets_at is not None and not _time_of_day(vendor.quota.resets_at):
        yield f'quota: resets_at is "{vendor.quota.resets_at}". Remedy: write a time of day in UTC, such as "13:30"'
    if vendor.verify is not None and vendor.split is None:
        yield "verify is declared, but split is not. Remedy: remove verify, or add split"
    if vendor.verify is not None and vendor.secret_credential not in vendor.credentials:
        yield f"secret_credential is {vendor.secret_credential}. Remedy: name the credential that verify checks against"
    if vendor.expect is not None and vendor.recheck is None:
        yield "expect is declared, but recheck is not. Remedy: remove expect, or add recheck"
    if vendor.split is None and not vendor.polls and vendor.expect is None:
        yield "nothing can be read. Remedy: add polls, split, or recheck with expect"


def _text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _mapping_of(kind: type) -> Callable[[object], bool]:
    def fits(value: object) -> bool:
        return isinstance(value, Mapping) and all(
            _text(name) and isinstance(item, kind) for name, item in value.items()
        )

    return fits


def _or_none(fits: Callable[[Any], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or fits(value)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _time_of_day(value: object) -> bool:
    try:
        parse_time_of_day(value)
    except ValueError:
        return False
    return True


def _tuple_of(fits: Callable[[Any], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, tuple) and bool(value) and all(map(fits, value))


#: Member -> a check for its value, and a description of what fits.
_MEMBERS: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "name": (_text, "a text"),
    "title": (_text, "a text"),
    "base_url": (_text, "a text"),
    "quota": (lambda value: isinstance(value, Quota), "a Quota"),
    "sheet": (lambda value: isinstance(value, FactSheet), "a FactSheet"),
    "credentials": (_mapping_of(Credential), "a mapping of name to Credential"),
    "options": (_mapping_of(Option), "a mapping of name to Option"),
    "polls": (_mapping_of(Poll), "a mapping of stream to Poll"),
    "reference_help": (_mapping_of(str), "a mapping of text to text"),
    "normalise": (callable, "a function"),
    "connect": (callable, "a function"),
    **{
        name: (_or_none(callable), "a function, or leave it out")
        for name in ("split", "verify", "recheck", "expect", "probe")
    },
    "secret_credential": (_or_none(_text), "the name of a credential, or leave it out"),
    "recheck_schedule": (_tuple_of(_number), "a tuple of seconds"),
    "pointer_schedule": (_tuple_of(_number), "a tuple of seconds"),
    "media_types": (_tuple_of(_text), "a tuple of texts"),
    "sittings": (lambda value: isinstance(value, bool), "true or false"),
    "look_back_limit": (_or_none(_number), "a number of seconds, or leave it out"),
}
