"""A vendor's functions and its bench, so that what is wrong with them is one line: vendor, file, fact, and the guide.

Without it a half-written folder ends in `AttributeError: 'Bench' object has no attribute 'revise'` inside of a suite.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from bridge import registry
from bridge.errors import BridgeError, clip
from bridge.sdk.vendor import Consent, Ignored, NormalisedAttempt, Page, Pointer, Record, Resume, Vendor
from tests.support.contract.capabilities import complaint

__all__ = ["CheckedBench", "checked_vendor", "fail"]

#: Function -> what it returns, in words, and whether a value is that.
_RETURNS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "split": ("Records, Pointers and Consents, or Ignored", lambda value: _is_content(value)),
    "normalise": ("a NormalisedAttempt", lambda value: isinstance(value, NormalisedAttempt)),
    "recheck": ("Records, Pointers and a Resume", lambda value: _each(value, Record, Pointer, Resume)),
    "expect": ("a Pointer", lambda value: isinstance(value, Pointer)),
    "verify": ("the number of the secret, or None", lambda value: value is None or type(value) is int),
    "probe": ("a few words", lambda value: isinstance(value, str)),
    "connect": ("a client", lambda value: value is not None),
    "fetch": ("a Page", lambda value: isinstance(value, Page) and _each(value.records, Record)),
    "rewind": ("a cursor, which is text", lambda value: isinstance(value, str)),
    "start": ("a cursor, which is text", lambda value: isinstance(value, str)),
    "position": ("UNIX seconds", lambda value: type(value) in (int, float)),
}
#: The same of the verbs of a bench.
_BENCH: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "finish": ("an attempt id", lambda value: isinstance(value, str)),
    "retake": ("an attempt id", lambda value: isinstance(value, str)),
    "begin": ("an attempt id", lambda value: isinstance(value, str)),
    "elsewhere": ("an attempt id", lambda value: isinstance(value, str)),
    "webhook": ("body and headers", lambda value: _is_webhook(value)),
    "sign": ("headers", lambda value: isinstance(value, Mapping)),
    "expectation": ("a reference, text to text", lambda value: isinstance(value, Mapping)),
}


class MissingMember(pytest.fail.Exception, AttributeError):
    """A bench lacks a member. Also an `AttributeError`, so that `getattr` with a default works."""


def fail(vendor: Vendor, fact: str, file: str, name: str) -> Any:
    """End the test with one line about a vendor's own file. `name`: what the guide's section is about."""
    pytest.fail(complaint(vendor, fact, file, name), pytrace=False)


class CheckedBench:
    """The bench of a vendor: what it lacks, and what its verbs return wrongly, fails in one line."""

    def __init__(self, vendor: Vendor, bench: Any) -> None:
        vars(self).update(_vendor=vendor, _bench=bench)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._bench, name, None)
        if value is None:
            raise MissingMember(
                complaint(self._vendor, f"the bench has no `{name}`", "contract.py", name), pytrace=False
            )
        if not inspect.ismethod(value):
            return value
        return _checked(self._vendor, name, value, _BENCH, "contract.py", ())

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._bench, name, value)


def checked_vendor(vendor: Vendor) -> Vendor:
    """The same vendor; each of its functions fails in one line if it raises or returns what no function of it may."""

    def wrap(name: str, function: Any) -> Any:
        if function is None:
            return None
        allowed = (BridgeError, ValueError) if name == "expect" else (BridgeError,)
        return _checked(vendor, name, function, _RETURNS, _file_of(function), allowed)

    functions = ("split", "normalise", "recheck", "expect", "verify", "probe", "connect")
    return replace(
        vendor,
        **{name: wrap(name, getattr(vendor, name)) for name in functions},
        polls={
            stream: replace(
                poll, **{name: wrap(name, getattr(poll, name)) for name in ("fetch", "rewind", "start", "position")}
            )
            for stream, poll in vendor.polls.items()
        },
    )


def _checked(
    vendor: Vendor,
    name: str,
    function: Callable[..., Any],
    returns: Mapping[str, tuple[str, Callable[[Any], bool]]],
    file: str,
    allowed: tuple[type[Exception], ...],
) -> Callable[..., Any]:
    words, fits = returns.get(name, ("", lambda value: True))

    @wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        try:
            value = function(*arguments, **options)
        except allowed:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the line says where
            return fail(vendor, f"`{name}` raises {_told(vendor, error)}", file, name)
        if not fits(value):
            return fail(vendor, f"`{name}` returns {_shown(value)}, and not {words}", file, name)
        return value

    return call


def _told(vendor: Vendor, error: Exception) -> str:
    """The error, and the innermost line of the vendor's own code that led to it."""
    folder = Path(str(import_module(registry.package(vendor.name)).__file__)).parent
    frames = traceback.extract_tb(error.__traceback__)
    last = [frame for frame in frames if Path(frame.filename).is_relative_to(folder)] or frames[-1:]
    return f"{type(error).__name__}: {clip(error, 160)}, in {Path(last[-1].filename).name}, line {last[-1].lineno}"


def _file_of(function: Any) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return "__init__.py" if code is None else Path(code.co_filename).name


def _shown(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def _each(value: Any, *kinds: type) -> bool:
    return isinstance(value, Sequence) and all(isinstance(item, kinds) for item in value)


def _is_content(value: Any) -> bool:
    return isinstance(value, Ignored) or _each(value, Record, Pointer, Consent)


def _is_webhook(value: Any) -> bool:
    return (
        isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], bytes) and isinstance(value[1], Mapping)
    )
