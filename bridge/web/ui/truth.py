"""One sentence about the whole bridge: what an operator who is woken at night must see first. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bridge.web.ui.formats import number_text
from bridge.web.ui.source_states import SourceWord, state_of
from bridge.web.ui.subscription_states import SubscriptionWord, subscription_state

__all__ = ["Fact", "Truth", "truth"]

_Rows = Sequence[Mapping[str, Any]]

_BAD, _WARN, _GOOD = "bad", "warn", "good"
_KINDS = (_BAD, _WARN, _GOOD)
#: Process -> what does not happen without it.
_NEEDED = {
    "worker": "nothing is polled",
    "beat": "nothing is scheduled",
    "dispatch": "nothing is delivered",
    "web": "no webhook is received",
}
#: Findings that matter before they are failures.
_EARLY = ("memory", "clock")
#: Phrases for states of a source or subscription, if not the word itself.
_PHRASES = {SourceWord.NO_CALLS: "out of calls", SourceWord.UNREAD: "with a failed poll"}
_STOPPED = {
    SubscriptionWord.DISABLED: "disabled",
    SubscriptionWord.OPEN: "with an open circuit",
    SubscriptionWord.BLOCKED: "blocked",
}
#: Names of one kind that are shown.
_NAMED = 3


class Fact(NamedTuple):
    """One part of the sentence. `moment`: a time that ends it, ISO 8601. `path`: the page about it, below `/ui/`."""

    text: str
    kind: str
    path: str
    moment: str | None = None
    #: Whether it begins with the name of a check or a setting, which stays as it is.
    is_name: bool = False


class Truth(NamedTuple):
    """The sentence. `kind`: that of its worst fact."""

    facts: tuple[Fact, ...]
    kind: str

    @property
    def text(self) -> str:
        """All of it, times as they are."""
        return ", ".join(fact.text if fact.moment is None else f"{fact.text} {fact.moment}" for fact in self.facts)


def truth(health: Mapping[str, Any], sources: _Rows, subscriptions: _Rows, groups: _Rows) -> Truth:
    """The facts, the worst first: server and processes, what is missing, sources, deliveries, expected attempts.

    `health`: of the API, `about=bridge`; the others: rows of its lists, `groups` those that are open.
    """
    facts = [
        *_of_server(health["findings"]),
        *_of_processes(health["findings"]),
        *_of_missing(sources),
        *_of_sources(sources),
        *_of_deliveries(subscriptions, groups),
        *_of_expected(sources),
        *_of_compared(sources),
    ]
    # Sorting keeps the order of those that are equally bad.
    facts.sort(key=lambda fact: _KINDS.index(fact.kind))
    first, *others = facts
    # Names of settings stay as they are.
    if not first.is_name:
        first = first._replace(text=first.text[:1].upper() + first.text[1:])
    return Truth((first, *others), first.kind)


def _of_server(findings: _Rows) -> list[Fact]:
    facts = []
    for finding in findings:
        is_early = finding["status"] == "warning" and finding["name"] in _EARLY
        if finding["status"] == "failure" or is_early:
            facts.append(
                Fact(f"{finding['name']}: {finding['text']}", _WARN if is_early else _BAD, "system", is_name=True)
            )
    return facts


def _of_processes(findings: _Rows) -> list[Fact]:
    missing = {finding["name"] for finding in findings if finding["name"] in _NEEDED and finding["status"] != "ok"}
    # Without a state server this is unknown, and another fact already says so.
    return [Fact(f"no sign of {name}: {effect}", _BAD, "system") for name, effect in _NEEDED.items() if name in missing]


def _of_missing(sources: _Rows) -> list[Fact]:
    missing = {row["name"]: row["last_reconciliation"]["still_missing"] for row in sources if _is_compared(row)}
    names = [name for name, number in missing.items() if number]
    if not names:
        return []
    number = sum(missing.values())
    return [Fact(f"{_count(number, 'attempt')} missing at {_named(names)}", _BAD, "reconciliations")]


def _of_sources(sources: _Rows) -> list[Fact]:
    if not sources:
        return [Fact("no source is configured", _WARN, "sources")]
    by_word: dict[SourceWord, list[str]] = {}
    for row in sources:
        by_word.setdefault(state_of(row).word, []).append(row["name"])
    heard = len(by_word.pop(SourceWord.HEARD, ()))
    number = len(sources)
    if heard == number:
        text = "the source is heard" if number == 1 else f"all {number_text(number)} sources heard"
        return [Fact(text, _GOOD, "sources")]
    kinds = {state_of(row).word: state_of(row).kind for row in sources}
    # Somebody paused it on purpose: it is mentioned, but is not a problem.
    facts = [
        Fact(
            _of_names("source", _PHRASES.get(word, word.value), names),
            _BAD if kinds[word] == _BAD else _WARN,
            "sources",
        )
        for word in SourceWord
        if (names := by_word.get(word))
    ]
    return [*facts, Fact(f"{number_text(heard)} of {_count(number, 'source')} heard", _GOOD, "sources")]


def _of_deliveries(subscriptions: _Rows, groups: _Rows) -> list[Fact]:
    if not subscriptions:
        return [Fact("no subscription is configured: events stay in the journal", _WARN, "subscriptions")]
    stopped: dict[SubscriptionWord, list[str]] = {}
    for row in subscriptions:
        word = subscription_state(row).word
        if word in _STOPPED:
            stopped.setdefault(word, []).append(row["name"])
    facts = [
        Fact(_of_names("subscription", _STOPPED[word], names), _BAD, "subscriptions")
        for word in _STOPPED
        if (names := stopped.get(word))
    ]
    paused = [row["name"] for row in subscriptions if subscription_state(row).word == SubscriptionWord.PAUSED]
    failing, dead = sum(group["failing"] for group in groups), sum(row["dead_letters"] for row in subscriptions)
    if failing:
        text = f"{_count(failing, 'delivery', 'deliveries')} failing"
        facts.append(Fact(f"{text} in {_count(len(groups), 'open failure group')}", _BAD, "failure-groups"))
    if dead:
        facts.append(Fact(_count(dead, "dead letter"), _WARN, "dead-letters"))
    if paused:
        facts.append(Fact(_of_names("subscription", "paused", paused), _WARN, "subscriptions"))
    return facts or [Fact("no delivery failing", _GOOD, "deliveries")]


def _of_expected(sources: _Rows) -> list[Fact]:
    overdue = sum(row["overdue"] for row in sources)
    if not overdue:
        return []
    return [Fact(f"{_count(overdue, 'expected attempt')} overdue", _WARN, "watches?state=overdue")]


def _of_compared(sources: _Rows) -> list[Fact]:
    """Up to when nothing is missing; the oldest comparison says least, so it is the one that counts."""
    if not sources:
        return []
    compared = [row["last_reconciliation"] for row in sources if _is_compared(row)]
    left = len(sources) - len(compared)
    if not compared:
        return [Fact("not compared with the vendors' lists yet", _WARN, "reconciliations")]
    facts = []
    if not any(result["still_missing"] for result in compared):
        until = min(result["until"] for result in compared)
        facts.append(Fact("nothing missing up to", _GOOD, "reconciliations", until))
    if left:
        facts.append(Fact(f"{_count(left, 'source')} not compared yet", _WARN, "reconciliations"))
    return facts


def _is_compared(row: Mapping[str, Any]) -> bool:
    return row["last_reconciliation"] is not None


def _count(number: int, singular: str, plural: str | None = None) -> str:
    return f"{number_text(number)} {singular if number == 1 else plural or f'{singular}s'}"


def _of_names(noun: str, phrase: str, names: Sequence[str]) -> str:
    """`sources silent: eu and us`."""
    return f"{noun}{'' if len(names) == 1 else 's'} {phrase}: {_named(names)}"


def _named(names: Sequence[str]) -> str:
    """`eu, us and uk`; of many the first ones and how many more."""
    shown = list(names[:_NAMED]) if len(names) > _NAMED + 1 else list(names)
    last = shown.pop() if len(shown) == len(names) else f"{number_text(len(names) - len(shown))} more"
    return f"{', '.join(shown)} and {last}" if shown else last
