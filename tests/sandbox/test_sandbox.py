"""The parts of the demo that need no processes: the verdict, the candidates, the generated configuration."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bridge import registry
from bridge.cli.demo import demo
from bridge.config import loader
from bridge.journal import StoredEvent
from bridge.quota.windows import Window
from bridge.sandbox.board import collect
from bridge.sandbox.candidates import Candidates
from bridge.sandbox.conditions import OUTPUTS, SCALE, SUBSCRIPTIONS, Addresses, Conditions, VendorAddress, configuration
from bridge.sandbox.subscribers import SUBSCRIBERS, Inbox
from bridge.sandbox.verdict import problems
from bridge.sdk.simulator import NO_FAULTS, ExpectedAttempt
from bridge.vendors.classmarker.simulator import sandbox

A, B = ("classmarker", "a"), ("classmarker", "b")
TRUTH = ExpectedAttempt(finished_at=100, needs_grading=False, versions=1, sent=1, lost=0, percentage=70.0)

REMEDY = "Remedy: correct `expected()` of the simulator, or `normalise`"


def event(attempt: str, kind: str = "attempt.completed", **result: Any) -> StoredEvent:
    content = {
        "data": {"attempt": {"status": "completed"}, "result": {"percentage": 70.0, "grading": "final"} | result}
    }
    return StoredEvent(
        entry_id="1-0",
        partition=0,
        id=f"{attempt}/{kind}",
        type=kind,
        source="classmarker",
        attempt=attempt,
        event=b'{"bridgeorigin":"webhook",' + json.dumps(content).encode()[1:],
    )


def received(*events: StoredEvent) -> dict[str, set[str]]:
    return {"crm": {event.id for event in events}, "gradebook": {event.id for event in events}}


def test_there_is_no_problem_when_every_attempt_is_published_once_and_reaches_every_subscriber() -> None:
    events = [event("a"), event("b", percentage=None, grading="not_scored"), event("eu", "source.poll_failing")]
    assert problems({A: TRUTH, B: TRUTH}, events, received(*events[:2])) == []


def test_a_revision_without_a_change_is_named() -> None:
    events = [event("a"), event("a", "attempt.revised")]
    assert problems({A: TRUTH}, events, received(*events)) == [
        "classmarker a: attempt.revised although nothing changed"
    ]


def test_an_attempt_unknown_to_the_vendor_is_named() -> None:
    assert problems({}, [event("a")], received(event("a"))) == [
        "classmarker a: is in the journal, but not at the vendor"
    ]


@pytest.mark.parametrize(
    ("truth", "events", "line"),
    [
        (TRUTH, [], "a: 0 attempt.completed in the journal instead of 1"),
        (TRUTH, [event("a"), event("a")], "a: 2 attempt.completed in the journal instead of 1"),
        (TRUTH, [event("a", percentage=60.0)], "a: the last event says 60.0 %, the vendor 70.0 %"),
        (
            TRUTH,
            [event("a", grading="provisional")],
            "a: the last event says grading provisional, the simulator's `expected()` needs_grading=False. " + REMEDY,
        ),
        (
            replace(TRUTH, needs_grading=True),
            [event("a")],
            "a: the last event says grading final, the simulator's `expected()` needs_grading=True. " + REMEDY,
        ),
        (
            replace(TRUTH, voided=True),
            [event("a")],
            "a: the last event says completed, the simulator's `expected()` voided=True. " + REMEDY,
        ),
    ],
)
def test_faults_in_the_journal_are_named(truth: ExpectedAttempt, events: list[StoredEvent], line: str) -> None:
    assert problems({A: truth}, events, received(*events)) == [f"classmarker {line}"]


def test_missing_deliveries_are_named() -> None:
    completed, revised = event("a", percentage=60.0), event("a", "attempt.revised")
    got = {"crm": {completed.id}, "gradebook": {completed.id, revised.id}, "warehouse": set[str]()}
    assert problems({A: TRUTH}, [completed, revised], got) == [
        "classmarker a: crm did not get attempt.revised; warehouse did not get attempt.completed, attempt.revised"
    ]


class Class:
    """Candidates on their own clock."""

    def __init__(self, run: int, attempts: int) -> None:
        self.now = 1_800_000_000.0
        self.simulator = sandbox(run, lambda: self.now, scale=SCALE, faults=NO_FAULTS)
        self.candidates = Candidates({"classmarker": self.simulator}, run=run, per_second=10, attempts=attempts)

    def finish(self) -> dict[str, ExpectedAttempt]:
        for _ in range(1_000):
            self.candidates.step(self.now)
            self.now += 0.1
        return self.simulator.expected()


def test_every_candidate_finishes_and_is_graded() -> None:
    candidates_class = Class(1, 200)
    candidates_class.candidates.step(candidates_class.now)
    assert len(candidates_class.simulator.expected()) == 1
    truth = candidates_class.finish()
    assert len(truth) == 200
    assert not any(attempt.needs_grading for attempt in truth.values())
    assert any(attempt.versions > 1 for attempt in truth.values())


def test_a_run_is_done_only_when_no_webhook_is_left_to_send() -> None:
    candidates_class = Class(1, 5)
    candidates_class.finish()
    assert candidates_class.simulator.webhooks_pending() > 0
    assert not candidates_class.candidates.done


def test_no_two_runs_share_an_attempt_even_at_the_same_moment() -> None:
    first, second = Class(1, 200).finish(), Class(2, 200).finish()
    assert first.keys().isdisjoint(second)


def test_the_generated_configuration_is_valid_and_says_nothing_of_a_time_scale(tmp_path: Path) -> None:
    addresses = Addresses(
        web_url="http://127.0.0.1:8080",
        crm_url="http://127.0.0.1:8082/",
        database=tmp_path / "results.db",
        chat_url="json://127.0.0.1:8083/",
        lrs_url="http://127.0.0.1:8084/statements",
        lrs_password="secret",
        crm_secret="whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" + "MfKQ9r8GKYq=",
        vendors={
            "classmarker": VendorAddress(
                base_url="http://127.0.0.1:8081",
                quota=registry.vendors()["classmarker"].quota,
                credentials={"api_key": "key", "api_secret": "secret", "webhook_secret": ("secret",)},
                options={},
                token="abcdefghijklmnopqrstuvwxyz",
            )
        },
    )
    text = configuration(addresses)
    (tmp_path / "bridge.yaml").write_text(text)
    config = loader.read(tmp_path / "bridge.yaml", vendors=registry.vendors(), environment={})
    assert config.bridge.data_dir.resolve() == tmp_path.resolve()
    assert tuple(config.subscriptions) == SUBSCRIPTIONS == SUBSCRIBERS[:3]
    assert config.sources["classmarker"].budget == Window(30, 30.0)
    assert "scale" not in text
    everything = Conditions(outputs=tuple(OUTPUTS))
    (tmp_path / "bridge.yaml").write_text(configuration(addresses, everything.outputs))
    config = loader.read(tmp_path / "bridge.yaml", vendors=registry.vendors(), environment={})
    assert tuple(config.subscriptions) == everything.subscriptions == (*SUBSCRIPTIONS, "results", "chat", "lrs")


def test_the_inbox_finds_events_also_where_two_threads_print_into_one_line() -> None:
    inbox = Inbox()
    assert inbox.take("crm", '{"received": "1", "type": "x"}{"received": "2"}')
    assert not inbox.take("crm", "listening http://127.0.0.1:1/")
    assert not inbox.take("web", '{"received": "3"}')
    assert inbox.received == {"gradebook": set(), "warehouse": set(), "crm": {"1", "2"}, "certificates": set()}


def test_the_figures_count_what_happened_in_this_run() -> None:
    lost = replace(TRUTH, sent=0, lost=1)
    figures = collect(
        truth={A: TRUTH, B: lost, ("classmarker", "c"): TRUTH},
        vendor={"lost": 1, "duplicated": 2},
        events=[event("a"), event("b"), event("b", "attempt.revised")],
        dropped=4,
        read_again=5,
        received={"crm": {"a/attempt.completed", "of an earlier run"}},
        states={},
    )
    assert figures.line() == (
        "completed=3 published=2 revised=1 missing=1 by_webhook=2 by_poll=0 rescued=1 duplicates_dropped=4 crm=1 "
        "retried=0 dead_letters=0"
    )


@pytest.mark.parametrize("share", ["-1%", "101%", "ten", "nan", "1.5"])
def test_a_wrong_share_is_one_clear_line(share: str) -> None:
    result = CliRunner().invoke(demo, [f"--lose={share}"])
    assert result.exit_code == 2
    assert f'"{share}" is not a valid share. Write it as 10% or 0.1' in result.output


def test_attempts_of_a_single_run_are_over_within_40_seconds_and_endless_ones_trickle() -> None:
    assert Conditions(attempts=300).per_second == 7.5
    assert Conditions(attempts=10).per_second == 4.0
    assert Conditions().per_second == 1.0
