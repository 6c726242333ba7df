"""Headers and authorisation that an http subscription sends with each push, as they are written in bridge.yaml."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields

from bridge.config.addresses import is_secret_name
from bridge.config.fields import Secret, Text, kind_of
from bridge.config.model import Authorization
from bridge.config.section import SectionSchema

__all__ = ["AuthorizationField", "RequestHeaders"]

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")  # RFC 9110, 5.6.2
#: RFC 9110, 7.6.1: these concern one connection, and proxies act on them.
_OF_THE_CONNECTION = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
_OF_THE_BRIDGE = {"accept-encoding", "expect", "host", "traceparent", "user-agent"}
_PREFIXES = ("bridge-", "content-", "proxy-", "webhook-")
#: Many servers refuse more than 8 kB of headers in all.
_MOST_HEADERS, _LONGEST_VALUE, _MOST_CHARACTERS = 20, 4096, 6144
#: Limit of user names and passwords, in bytes.
_LONGEST_LOGIN = 1024
_VISIBLE = re.compile(r"[!-~]+")


def _name_problem(name: str) -> str | None:
    lower = name.lower()
    if not _NAME.fullmatch(name):
        return "is not the name of a header. Remedy: up to 64 of a-z, A-Z, 0-9 and -"
    if lower == "authorization":
        return "has a key of its own. Remedy: write it as authorization: {bearer: ...} or {basic: {...}}"
    if lower in _OF_THE_CONNECTION:
        return "concerns the connection, which the bridge makes itself. Remedy: remove it"
    prefix = next((prefix for prefix in _PREFIXES if lower.startswith(prefix)), None)
    if prefix or lower in _OF_THE_BRIDGE:
        return f"is set by the bridge{f', like all that start with {prefix}' if prefix else ''}. Remedy: remove it"
    return None


def _value_problem(value: str) -> str | None:
    if len(value) > _LONGEST_VALUE:
        return f"has {len(value)} characters. Remedy: at most {_LONGEST_VALUE}"
    if value != value.strip():
        return "begins or ends with a space, which HTTP removes. Remedy: remove it"
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        return "holds a character that a header cannot have. Remedy: use ASCII"
    return None


class RequestHeaders(fields.Field[dict[str, str]]):
    """A section of header names with their values; what may be a secret must be a reference."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> dict[str, str]:
        if not isinstance(value, Mapping):
            raise ValidationError(f"must be a section of header names with their values, not {kind_of(value)}")
        value = {name: text for name, text in value.items() if text is not None}
        if len(value) > _MOST_HEADERS:
            raise ValidationError(f"has {len(value)} headers. Remedy: at most {_MOST_HEADERS}")
        seen: dict[str, str] = {}
        problems: dict[str, list[str]] = {}
        for name, text in value.items():
            try:
                _check_header(name, text, seen)
            except ValidationError as error:
                problems[name] = [str(message) for message in error.messages]
            seen.setdefault(name.lower(), name)
        if problems:
            raise ValidationError(problems)
        characters = sum(len(name) + len(text) for name, text in value.items())
        if characters > _MOST_CHARACTERS:
            raise ValidationError(f"has {characters} characters in all. Remedy: at most {_MOST_CHARACTERS}")
        return dict(value)


def _check_header(name: str, value: Any, seen: Mapping[str, str]) -> None:
    """`seen`: names so far by their lower-case spelling. Raises `ValidationError`."""
    problem = _name_problem(name)
    if name.lower() in seen:
        problem = f"is the same header as {seen[name.lower()]}. Remedy: remove one of them"
    if problem:
        raise ValidationError(problem)
    (Secret if is_secret_name(name) else Text)(_value_problem).deserialize(value)


def _user_problem(text: str) -> str | None:
    if ":" in text:
        return "holds a colon, which ends a user name. Remedy: use another name"
    return _length_problem(text)


def _length_problem(text: str) -> str | None:
    size = len(text.encode())
    return f"has {size} bytes. Remedy: at most {_LONGEST_LOGIN}" if size > _LONGEST_LOGIN else None


def _token_problem(text: str) -> str | None:
    if not _VISIBLE.fullmatch(text):
        return "holds a space or a character that is not ASCII. Remedy: write only the token, without Bearer"
    return _value_problem(text)


class _BasicSchema(SectionSchema):
    user = Text(_user_problem, required=True)
    password = Secret(_length_problem, required=True)


class _AuthorizationSchema(SectionSchema):
    basic = fields.Nested(_BasicSchema)
    bearer = Secret(_token_problem)


class AuthorizationField(fields.Field[Authorization]):
    """`{bearer: token}` or `{basic: {user: ..., password: ...}}`."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> Authorization:
        loaded = _AuthorizationSchema().load(value)
        if len(loaded) != 1:
            raise ValidationError(f"has {len(loaded) or 'none'} of basic and bearer. Remedy: write one of them")
        if "bearer" in loaded:
            return Authorization(loaded["bearer"])
        return Authorization(loaded["basic"]["password"], user=loaded["basic"]["user"])
