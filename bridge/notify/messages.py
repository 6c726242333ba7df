"""Messages about events: from the event's JSON, or from several, to a title and a text. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from bridge.notify.defaults import DIGEST, TEMPLATES, MessageTemplate, chosen
from bridge.notify.safe_text import for_chat, for_mail
from bridge.notify.templates import Link, Template, TemplateProblem
from schemas.event import ATTEMPT_TYPES
from schemas.notices import OVERDUE, SUBSCRIPTION_DISABLED, SUBSCRIPTION_RECOVERED, SUBSCRIPTION_TYPES

__all__ = ["FAILURE", "INFO", "SUCCESS", "WARNING", "Message", "Messages"]

#: How urgent a message is; services show it as a colour or a priority.
INFO, SUCCESS, WARNING, FAILURE = "info", "success", "warning", "failure"
_TITLE, _BODY = 200, 4_000
_LONGEST_VALUE = 1_000
#: Titles that a digest names.
_MOST_TITLES = 10
_AGAIN = "Sent again by a replay."


@dataclass(frozen=True, slots=True)
class Message:
    """What one service gets."""

    title: str
    body: str
    urgency: str = INFO


class Messages:
    """Makes messages with an operator's templates and the defaults. Raises `TemplateProblem` for invalid ones.

    `public_url`: the bridge's, for links to its dashboard. `on_problem`: called with the type of an event, or `digest`,
    for which the operator's template could not be rendered; the default one is used instead.
    """

    def __init__(
        self,
        own: Mapping[str, MessageTemplate],
        public_url: str,
        *,
        on_problem: Callable[[str, TemplateProblem], None] | None = None,
    ) -> None:
        self._public_url, self._on_problem = public_url, on_problem
        #: Type or `digest` -> title and body, each the operator's, if any, and the default.
        self._templates = {
            name: (
                (_compiled(chosen(own, name).title), Template(default.title or "")),
                (_compiled(chosen(own, name).body), Template(default.body or "")),
            )
            for name, default in TEMPLATES.items()
        }

    def of(self, events: Sequence[tuple[bytes, bool]], *, mail: bool) -> Message:
        """The message about one event, or about several at once. `events`: (its JSON, whether a replay sends it).

        `mail`: for a mail; else for a chat, where text may mention people. Raises `ValueError` or `KeyError` for JSON
        that is not an event.
        """
        documents = [_clipped(json.loads(body)) for body, _ in events]
        if len(documents) > 1:
            return self._digest(documents, mail=mail)
        (document,), ((_, replayed),) = documents, events
        values = _values(document, self._public_url)
        title, body = self._render(document["type"], values, mail=mail)
        return Message(title, f"{body}\n{_AGAIN}" if replayed else body, _urgency(document))

    def _digest(self, documents: Sequence[Mapping[str, Any]], *, mail: bool) -> Message:
        titles: list[str] = []
        for document in documents:
            if document["type"] not in ATTEMPT_TYPES and len(titles) < _MOST_TITLES:
                # As plain values: the digest replaces what is unsafe when it prints them.
                titles.append(self._part(document["type"], 0, _values(document, self._public_url), str, _TITLE))
        values = {**_digest_values(documents, titles), "link": Link(f"{self._public_url}/ui/")}
        title, body = self._render(DIGEST, values, mail=mail)
        urgencies = {_urgency(document) for document in documents}
        return Message(title, body, next((each for each in (FAILURE, WARNING) if each in urgencies), INFO))

    def _render(self, name: str, values: Mapping[str, Any], *, mail: bool) -> tuple[str, str]:
        safe = for_mail if mail else for_chat
        title = " ".join(self._part(name, 0, values, safe, _TITLE).split())
        lines = self._part(name, 1, values, safe, _BODY).splitlines()
        return title, "\n".join(line.rstrip() for line in lines) or title

    def _part(self, name: str, place: int, values: Mapping[str, Any], safe: Callable[[str], str], most: int) -> str:
        own, default = self._templates[name][place]
        if own is not None:
            try:
                return own.render(values, safe=safe, most=most)
            except TemplateProblem as problem:
                # A message in other words is better than none.
                if self._on_problem is None:
                    raise
                self._on_problem(name, problem)
        return default.render(values, safe=safe, most=most)


def _compiled(source: str | None) -> Template | None:
    return None if source is None else Template(source)


def _clipped(value: Any) -> Any:
    """An event with long values cut: a template prints only their beginning anyway."""
    if isinstance(value, dict):
        return {key: _clipped(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_clipped(member) for member in value]
    return value[:_LONGEST_VALUE] if isinstance(value, str) else value


def _values(event: Mapping[str, Any], public_url: str) -> dict[str, Any]:
    """What a template may use."""
    data = event["data"]
    return {
        "id": event["id"],
        "type": event["type"],
        "source": _source(event),
        "subject": event.get("subject"),
        "vendor": event.get("bridgevendor"),
        "time": event.get("time"),
        "data": data,
        "link": Link(public_url + _path(event)),
        "candidate": _first(data, "candidate", "name", "external_id", "id"),
        "assessment": _first(data, "assessment", "name", "id"),
        "outcome": _outcome(event),
        "score": _score(data),
    }


def _source(event: Mapping[str, Any]) -> str:
    """The name of its source, the last part of `/acme/sources/eu-classmarker`."""
    return str(event["source"]).rpartition("/")[2]


def _path(event: Mapping[str, Any]) -> str:
    """The page of the dashboard about it."""
    kind, data, source = event["type"], event["data"], quote(_source(event), safe="")
    if kind in ATTEMPT_TYPES and "attempt" in data:
        return f"/ui/attempts/{source}?attempt={quote(str(data['attempt']['id']), safe='')}"
    if kind in SUBSCRIPTION_TYPES:
        return f"/ui/subscriptions/{quote(str(data['subscription']['name']), safe='')}"
    if kind == OVERDUE:
        return "/ui/watches?state=overdue"
    return f"/ui/sources/{source}" if "alarm" in data else "/ui/"


def _first(data: Mapping[str, Any], member: str, *names: str) -> str | None:
    part = data.get(member) or {}
    return next((str(part[name]) for name in names if part.get(name)), None)


def _outcome(event: Mapping[str, Any]) -> str:
    """What came of an attempt, in one word; of any other event the last part of its type."""
    kind, data = event["type"], event["data"]
    passed = (data.get("result") or {}).get("passed")
    if kind not in ATTEMPT_TYPES or passed is None or (data.get("attempt") or {}).get("status") == "voided":
        return str("voided" if (data.get("attempt") or {}).get("status") == "voided" else kind.rpartition(".")[2])
    return "passed" if passed else "failed"


def _score(data: Mapping[str, Any]) -> str | None:
    """`21 of 25, 84 %`, as far as it is known."""
    result = data.get("result") or {}
    score, most, percentage = (result.get(name) for name in ("score", "max_score", "percentage"))
    parts = [] if score is None else [f"{score:g}" if most is None else f"{score:g} of {most:g}"]
    parts += [] if percentage is None else [f"{percentage:g} %"]
    parts += [] if result.get("grade") is None else [f"grade {result['grade']}"]
    return ", ".join(parts) or None


def _urgency(event: Mapping[str, Any]) -> str:
    kind, data = event["type"], event["data"]
    if kind == SUBSCRIPTION_DISABLED:
        return FAILURE
    if kind == SUBSCRIPTION_RECOVERED or (data.get("alarm") or {}).get("state") == "recovered":
        return SUCCESS
    if kind == OVERDUE or kind in SUBSCRIPTION_TYPES or "alarm" in data:
        return WARNING
    return INFO


def _digest_values(events: Sequence[Mapping[str, Any]], titles: Sequence[str]) -> dict[str, Any]:
    attempts = [event for event in events if event["type"] in ATTEMPT_TYPES]
    outcomes = Counter(map(_outcome, attempts))
    times = sorted(str(event["time"]) for event in events if event.get("time"))
    return {
        "count": len(events),
        "attempts": len(attempts),
        "passed": outcomes["passed"],
        "failed": outcomes["failed"],
        "types": list(_by_type(events)),
        "titles": list(titles),
        "since": times[0] if times else None,
        "until": times[-1] if times else None,
    }


def _by_type(events: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    counts = Counter(event["type"] for event in events)
    for kind, count in counts.most_common():
        sources = sorted({_source(event) for event in events if event["type"] == kind})
        yield {"type": kind, "count": count, "sources": sources[:5]}
