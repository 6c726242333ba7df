"""Messages about events: a good default for each type, templates of the operator's, text that cannot mark up."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bridge.notify.defaults import DIGEST, MessageTemplate
from bridge.notify.messages import FAILURE, SUCCESS, WARNING, Messages
from bridge.notify.safe_text import for_chat, for_mail
from bridge.notify.samples import TYPES, sample
from bridge.notify.templates import TemplateProblem
from schemas.event import ATTEMPT_TYPES
from schemas.notice_shapes import MEMBERS, NoticeDataSchema
from schemas.shapes import DataSchema

PLAIN = Messages({}, "https://bridge.example.org")


def changed(kind: str, **members: Any) -> bytes:
    """The sample of a type with other members; `name__inner` is a member below `data`."""
    event = json.loads(sample(kind))
    for path, value in members.items():
        *places, last = path.split("__")
        target = event["data"]
        for place in places:
            target = target[place]
        target[last] = value
    return json.dumps(event).encode()


@pytest.mark.parametrize("kind", TYPES)
def test_each_type_has_a_default_with_a_link_to_its_page_and_without_a_name(kind: str) -> None:
    message = PLAIN.of([(sample(kind, "minimal"), False)], mail=False)
    assert message.title
    assert "Sam" not in message.title + message.body
    assert kind == "bridge.test" or message.body.splitlines()[-1].startswith("https://bridge.example.org/ui/")


def test_the_samples_are_as_the_published_schemas_say() -> None:
    for kind in TYPES:
        data = json.loads(sample(kind))["data"]
        schema: Any = DataSchema() if kind in ATTEMPT_TYPES else NoticeDataSchema()
        assert schema.validate(data) == {}, kind
        assert kind in ATTEMPT_TYPES or list(data) == [MEMBERS[kind]]


def test_an_alarm_says_fact_value_remedy_and_how_urgent_it_is() -> None:
    message = PLAIN.of([(sample("source.poll_failing"), False)], mail=True)
    assert message.title == "eu-exams: no page could be read"
    assert message.body.splitlines() == [
        "6 rounds failed",
        "Since: 2026-11-20 14:52 UTC",
        "Remedy: see the log",
        "https://bridge.example.org/ui/sources/eu-exams",
    ]
    assert message.urgency == WARNING
    over = PLAIN.of([(changed("source.poll_failing", alarm__state="recovered"), False)], mail=True)
    assert (over.title, over.urgency) == ("eu-exams: recovered: no page could be read", SUCCESS)
    assert PLAIN.of([(sample("subscription.disabled"), False)], mail=True).urgency == FAILURE


def test_an_attempt_is_told_as_far_as_the_projection_goes() -> None:
    full = PLAIN.of([(sample("attempt.completed"), False)], mail=True)
    assert (full.title, full.body.splitlines()[:2]) == (
        "Safety: passed",
        ["Candidate: Sam Sample", "Result: 21 of 25, 84 %, grade B"],
    )
    assert PLAIN.of([(sample("attempt.revised"), False)], mail=True).title == "Safety: passed, revised"
    little = PLAIN.of([(sample("attempt.completed", ("result.passed",)), False)], mail=True)
    assert (little.title, little.body.splitlines()[0]) == ("Attempt: passed", "Candidate: not named")
    score = PLAIN.of([(changed("attempt.completed", result__score=0, result__passed=False), False)], mail=True)
    assert (score.title, "Result: 0 of 25" in score.body) == ("Safety: failed", True)


def test_foreign_text_mentions_nobody_links_nowhere_and_stays_in_its_line() -> None:
    hostile = "<!channel> @here [prize](https://evil.example) \u202edlrow\nX-Header: 1 <img src=x>"
    event = changed("attempt.completed", assessment__name=hostile)
    chat = PLAIN.of([(event, False)], mail=False).title
    for forbidden in ("<", ">", "@here", "](", "https://", "\u202e", "\n"):
        assert forbidden not in chat
    mail = PLAIN.of([(event, False)], mail=True).title
    assert "\n" not in mail
    assert "https://" not in mail
    assert for_mail("sam@example.test") == "sam@example.test"
    assert for_chat("sam@example.test") != "sam@example.test"
    assert len(for_chat("x" * 5000)) == 1001


def test_an_operators_template_is_used_by_its_type_or_by_the_first_pattern_that_fits() -> None:
    own = {
        "source.*": MessageTemplate(title="any {{ source }}"),
        "source.poll_failing": MessageTemplate(body="exact"),
    }
    messages = Messages(own, "https://bridge.example.org")
    exact = messages.of([(sample("source.poll_failing"), False)], mail=False)
    assert (exact.title, exact.body) == ("eu-exams: no page could be read", "exact")
    assert messages.of([(sample("source.webhooks_silent"), False)], mail=False).title == "any eu-exams"
    assert messages.of([(sample("attempt.overdue"), False)], mail=False).title == "eu-exams: overdue: E-1 Safety"


def test_a_template_that_fails_for_one_event_gives_way_to_the_default_and_is_reported() -> None:
    reported: list[str] = []
    own = {"attempt.*": MessageTemplate(title="{{ data.result.score|round(1) }} points")}
    messages = Messages(own, "", on_problem=lambda name, problem: reported.append(f"{name} {problem}"))
    assert messages.of([(sample("attempt.completed"), False)], mail=False).title == "21.0 points"
    assert reported == []
    assert (
        messages.of([(changed("attempt.completed", result__score=None), False)], mail=False).title == "Safety: passed"
    )
    assert reported == ["attempt.completed cannot be rendered: TypeError"]
    with pytest.raises(TemplateProblem):
        Messages(own, "").of([(changed("attempt.completed", result__score=None), False)], mail=False)


def test_a_digest_counts_and_names_what_is_no_attempt() -> None:
    passed, failed = sample("attempt.completed"), changed("attempt.completed", result__passed=False)
    message = PLAIN.of([(each, False) for each in [passed] * 12 + [failed] * 5], mail=False)
    assert message.title == "17 events, all of them attempts"
    assert message.body.splitlines()[0] == "17 attempts: 12 passed, 5 failed, 0 neither"
    mixed = PLAIN.of([(passed, False), *[(sample("source.poll_failing"), False)] * 12], mail=False)
    assert mixed.urgency == WARNING
    assert mixed.body.count("- eu-exams: no page could be read") == 10
    assert "source.poll_failing: 12 (eu-exams)" in mixed.body
    own = Messages({DIGEST: MessageTemplate(title="{{ passed }}/{{ count }}")}, "")
    assert own.of([(passed, False), (failed, False)], mail=False).title == "1/2"


def test_a_message_that_a_replay_sends_again_says_so() -> None:
    assert PLAIN.of([(sample("attempt.overdue"), True)], mail=False).body.endswith("\nSent again by a replay.")
