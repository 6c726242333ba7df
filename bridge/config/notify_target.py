"""Subscriptions of transport `notify` in bridge.yaml: addresses of services, templates, and their defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

from marshmallow import ValidationError, fields

from bridge.config.fields import Secret, kind_of
from bridge.config.yaml_document import Document, KeyPath
from bridge.errors import clip
from bridge.notify.defaults import DEFAULT_TYPES, DIGEST, MessageTemplate
from bridge.notify.messages import Messages
from bridge.notify.samples import TYPES, sample
from bridge.notify.templates import Template, TemplateProblem
from bridge.text import did_you_mean

__all__ = ["ServiceAddresses", "Templates", "check_notify", "shown_service", "with_notify_defaults"]

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9_+.-]{0,39})://\S.*")
_MOST_SERVICES = 10
_PARTS = ("title", "body")


def _address_problem(text: str) -> str | None:
    if _ADDRESS.fullmatch(text):
        return None
    return "is not the address of a service, such as slack://... or mailtos://... (https://appriseit.com/services/)"


class ServiceAddresses(fields.List[str]):
    """A list of Apprise addresses, none of them literal in the file: each holds a token or a password."""

    def __init__(self) -> None:
        super().__init__(
            Secret(_address_problem), error_messages={"invalid": 'must be a list such as ["${{OPS_SLACK_URL}}"]'}
        )

    def _deserialize(self, value: Any, attr: str | None, data: Any, **rest: Any) -> list[Any]:
        addresses = super()._deserialize(value, attr, data, **rest) or []
        if not addresses:
            raise ValidationError('is empty. Remedy: name a service, such as ["${OPS_SLACK_URL}"]')
        if len(addresses) > _MOST_SERVICES:
            raise ValidationError(f"has {len(addresses)} services. Remedy: at most {_MOST_SERVICES} per subscription")
        return list(addresses)


class Templates(fields.Field[Mapping[str, MessageTemplate]]):
    """A section: event type, pattern or `digest` -> a section of `title` and `body`."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> dict[str, MessageTemplate]:
        if not isinstance(value, Mapping):
            raise ValidationError(f"must be a section such as {{source.*: {{title: ...}}}}, not {kind_of(value)}")
        problems: dict[str, Any] = {}
        templates = {}
        for name, section in value.items():
            if not _types_of(name):
                known = (*TYPES, DIGEST, "source.*", "attempt.*")
                problems[name] = [f'"{clip(name, 40)}" is not an event type. {did_you_mean(name, known)}']
            elif problem := _section_problem(section):
                problems[name] = problem
            else:
                templates[name] = MessageTemplate(**section)
        if problems:
            raise ValidationError(problems)
        return templates


def _types_of(name: str) -> list[str]:
    """The types that a name or pattern is for, or `digest`."""
    return [DIGEST] if name == DIGEST else [kind for kind in TYPES if fnmatchcase(kind, name)]


def _section_problem(section: Any) -> Any:
    if not isinstance(section, Mapping) or not section:
        return ["must be a section with `title`, `body` or both"]
    problems: dict[str, list[str]] = {}
    for part, source in section.items():
        if part not in _PARTS:
            problems[part] = [f"unknown key. {did_you_mean(part, _PARTS)}"]
        elif not isinstance(source, str):
            problems[part] = [f"must be text, not {kind_of(source)}"]
        else:
            try:
                Template(source)
            except TemplateProblem as problem:
                problems[part] = [str(problem)]
    return problems


def with_notify_defaults(data: Mapping[str, Any]) -> dict[str, Any]:
    """A subscription as it was read, with the defaults that only notify has: a chat gets few events, and no names."""
    return {
        "data": "minimal",
        **data,
        "urls": tuple(data.get("urls", ())),
        "filter": {"types": list(DEFAULT_TYPES), **data.get("filter", {})},
    }


def check_notify(data: Mapping[str, Any], path: KeyPath, document: Document) -> None:
    """Add the problems of the templates, tried with events of their types as the subscription gets them."""
    patterns = data["filter"]["types"]
    taken = [kind for kind in TYPES if any(fnmatchcase(kind, pattern) for pattern in patterns)]
    for name, template in data.get("templates", {}).items():
        for part in _PARTS:
            source = getattr(template, part)
            problem = source and _rendering_problem(name, MessageTemplate(**{part: source}), taken, data["data"])
            if problem:
                document.add((*path, "templates", name, part), problem)


def _rendering_problem(name: str, template: MessageTemplate, taken: Sequence[str], projection: Any) -> str | None:
    """`taken`: the types that the filter includes; a template for none of them is tried with all of its own."""
    messages = Messages({name: template}, "https://bridge.example.org")
    types = _types_of(name)
    for kind in [each for each in types if each in taken] or types:
        tried = TYPES if kind == DIGEST else (kind,)
        try:
            messages.of([(sample(each, projection), False) for each in tried], mail=False)
        except TemplateProblem as problem:
            return f"{problem} (tried with an invented {kind})"
    return None


def shown_service(url: str) -> str:
    """An address without what may be a secret: its scheme and, if it is a web address, its host."""
    scheme, _, _ = url.partition("://")
    host = urlsplit(url).hostname if scheme.lower() in ("http", "https") else None
    return f"{scheme}://{host or ''}{'/' if host else ''}****"
