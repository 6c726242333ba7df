"""One source over the forms that the operator lists: each is a stream of its own, through everything that reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient
from markupsafe import escape
from prometheus_client import CollectorRegistry

from bridge.config import loader
from bridge.config.model import PollConfig
from bridge.errors import BridgeError, ConfigError, Unreadable, VendorFault, VendorRefused, VendorUnavailable
from bridge.monitoring import alarms
from bridge.monitoring.backfill_rows import backfill_row
from bridge.monitoring.doctor import examine
from bridge.monitoring.source_rows import source_details
from bridge.monitoring.state_collector import StateCollector
from bridge.polling.backfill_jobs import FAILED, Backfill, backfill_id
from bridge.polling.cursors import HISTORY, ROUNDS_PER_STREAM, Cursors, RoundReport
from bridge.polling.reconciliation import Reconciliations
from bridge.sdk.time_cursor import poll_by_time
from bridge.sdk.time_scale import with_time_scale
from bridge.sdk.vendor import Option, Poll, Vendor, streams
from bridge.services import Services
from bridge.state import keys
from bridge.web import create_app
from schemas.notices import POLL_FAILING
from tests.support.contract.stage import polls_of
from tests.support.dashboard import Dashboard
from tests.support.polling import DAY, START, Api, Client, Sitting, journal, make_services, make_vendor, with_source
from tests.support.watches_api import OpenGate, access_of
from workers.polling import backfill
from workers.polling.backfill import BackfillCallbacks
from workers.polling.poll import PollReport, poll_once
from workers.polling.reconcile import ReconcileOptions, reconcile
from workers.polling.source_test import steps
from workers.polling.watchdog import check_sources
from workers.tasks import beat_schedule

NAME = "eu-little"
ODD = ("a/b", "ä ö", "x:y", "history", "%2F?#", "'\"&<b>")


def vendor_of(api: Api) -> Vendor:
    """The smallest vendor that is polled form by form."""
    little = make_vendor(Api(api.clock), recheck=False)
    forms = Poll(
        fetch=lambda client, cursor, form: client.page(form, cursor),
        rewind=lambda cursor, seconds: f"{float(cursor.partition('+')[0]) - seconds:.0f}",
        start=lambda moment, _until: f"{moment:.0f}",
        position=lambda cursor: float(cursor.partition("+")[0]),
        per="forms",
    )
    option = Option(help="the ids of the forms to read", kind="list", required=True)
    return replace(
        little,
        connect=lambda _source, calls: Client(api, calls),
        polls={"forms": forms},
        options={"forms": option},
        split=None,
    )


@dataclass
class World:
    """A clock that goes on with every call, a vendor's API, and the bridge's services."""

    state: redis.Redis
    forms: tuple[str, ...] = ("a", "b")
    moment: float = START
    budget: tuple[int, float] = (1000, 3600.0)

    def __post_init__(self) -> None:
        self.api = Api(clock=lambda: self.moment, streams={form: [] for form in self.forms}, before=self._before)
        self.problems: dict[str, BridgeError] = {}
        self.restart()

    def restart(self, forms: tuple[str, ...] | None = None) -> None:
        """The bridge starts again, perhaps with another list."""
        self.forms = self.forms if forms is None else forms
        poll = PollConfig(every=300, overlap=100, look_back=DAY)
        services = make_services(self.state, vendor_of(self.api), lambda: self.moment, poll=poll, budget=self.budget)
        self.services = with_source(services, options={"forms": self.forms})

    def _before(self, _number: int) -> None:
        self.moment += 0.001
        if problem := self.problems.get(self.api.calls[-1].rpartition(" ")[0]):
            raise problem

    def sit(self, form: str, *ids: str, at: float = START - 1000) -> None:
        self.api.add(*(Sitting(name, at + 10 * number) for number, name in enumerate(ids)), stream=form)

    def poll(self, **options: Any) -> PollReport:
        self.moment += 300
        return poll_once(self.services, NAME, **options)

    def asked(self) -> list[str]:
        """The forms that were asked for since the last time, in this order."""
        calls = [call.rpartition(" ")[0] for call in self.api.calls]
        self.api.calls.clear()
        return calls

    def job(self, *names: str) -> Backfill:
        return Backfill(
            id=backfill_id(NAME, self.moment), source=NAME, first=START - DAY, last=START, streams=list(names)
        )

    def run(self, job: Backfill) -> Backfill:
        backfill.run(self.services, job, self.callbacks)
        return job

    @property
    def callbacks(self) -> BackfillCallbacks:
        return BackfillCallbacks(sleep=self.sleep, show=lambda *_: None, stopping=lambda: False)

    def sleep(self, seconds: float) -> None:
        self.moment += seconds

    def cursor(self, form: str) -> str | None:
        return self.services.cursors.position(NAME, f"forms:{form}").cursor

    @property
    def published(self) -> list[str]:
        return [attempt for kind, attempt in journal(self.state) if kind == "attempt.completed"]


@pytest.fixture
def world(state: redis.Redis) -> World:
    return World(state)


def test_each_form_has_a_cursor_of_its_own_and_all_is_published_once(world: World) -> None:
    world.sit("a", "1", "2", "3", "4", at=START - 5000)
    world.sit("b", "5")

    report = world.poll()

    assert (report.outcome, [each.stream for each in report.rounds]) == ("done", ["forms:a", "forms:b"])
    assert world.published == ["a:1", "a:2", "a:3", "a:4", "a:5"]
    assert (world.cursor("a"), world.cursor("b")) == (f"{START - 4970:.0f}", f"{START - 1000:.0f}")

    world.restart()
    world.sit("b", "6", at=START - 990)
    world.api.calls.clear()
    assert world.poll().outcome == "done"
    assert world.published == ["a:1", "a:2", "a:3", "a:4", "a:5", "a:6"]
    assert {f"a {START - 5070:.0f}", f"b {START - 1100:.0f}"} < {*world.api.calls}


FAULTS = [VendorFault("no such form"), Unreadable("no JSON"), VendorUnavailable("HTTP 500")]


@pytest.mark.parametrize("problem", FAULTS, ids=type)
def test_a_form_that_cannot_be_read_does_not_stop_the_others(world: World, problem: BridgeError) -> None:
    world.sit("a", "1")
    world.sit("b", "2")
    world.problems["a"] = problem

    report = world.poll()

    assert (report.outcome, [each.error is None for each in report.rounds]) == ("cut_short", [False, True])
    assert world.published == ["a:2"]
    world.problems.clear()
    assert world.poll().outcome == "done"
    assert sorted(world.published) == ["a:1", "a:2"]


def test_when_the_vendor_is_away_only_some_forms_are_asked_for_in_a_poll(state: redis.Redis) -> None:
    world = World(state, forms=tuple("abcdefgh"))
    world.problems = dict.fromkeys(world.forms, VendorUnavailable("no answer"))
    world.poll()
    assert world.asked() == ["a", "b", "c"]
    # The others first: one of them may answer.
    del world.problems["d"]
    world.poll()
    assert world.asked() == ["d", "e", "f", "g"]


@pytest.mark.parametrize(
    "problem", [VendorUnavailable("HTTP 503", retry_at=START + 3600), VendorRefused("HTTP 401")], ids=type
)
def test_what_concerns_the_whole_source_ends_the_poll(world: World, problem: BridgeError) -> None:
    world.problems["a"] = problem
    assert world.poll().outcome == "cut_short"
    assert world.asked() == ["a"]
    assert world.poll().outcome == "paused"


@pytest.mark.parametrize("calls", [2, 5])
def test_a_small_budget_is_spent_on_every_form_in_turn(state: redis.Redis, calls: int) -> None:
    # A budget that divides the number of forms, plus the one that is refused, must not pass over the same form.
    world = World(state, forms=tuple("abcdef"), budget=(calls, 290.0))
    turns = [world.asked() for _ in range(12) if world.poll(not_within=240)]
    assert all(len(each) == calls for each in turns)
    every = [form for turn in turns for form in turn]
    assert {form: every.count(form) for form in world.forms} == dict.fromkeys(world.forms, 2 * calls)


def test_a_form_with_a_long_past_does_not_keep_the_budget_to_itself(state: redis.Redis) -> None:
    world = World(state, forms=("long", "short"), budget=(3, 290.0))
    world.sit("long", *(f"{number}" for number in range(20)))
    world.sit("short", "short")
    world.poll()
    assert "a:short" not in world.published
    world.poll()
    assert "a:short" in world.published
    for _ in range(3):
        world.poll()
    assert len(world.published) == 21


def test_a_form_that_is_removed_loses_its_cursor_and_starts_at_the_look_back_when_it_comes_back(world: World) -> None:
    world.sit("a", "1")
    world.sit("b", "2")
    world.poll()

    world.restart(("b",))
    world.poll()
    assert (world.cursor("a"), world.cursor("b")) == (None, f"{START - 1000:.0f}")
    assert world.state.smembers(keys.cursor_items(NAME)) == {b"forms:b"}
    shown = source_details(world.services, world.services.config.sources[NAME])
    assert list(shown["cursors"]) == ["forms:b"]
    assert {each["stream"] for each in shown["rounds"]} == {"forms:a", "forms:b"}

    world.restart(("b", "a"))
    world.sit("a", "3")
    world.api.calls.clear()
    world.poll()
    assert world.api.calls[0] == f"a {world.moment - 0.001 - DAY:.0f}"
    assert world.published == ["a:1", "a:2", "a:3"]


def test_one_form_is_read_again_by_name(world: World) -> None:
    world.sit("a", "1")
    world.sit("b", "2")
    job = world.run(world.job("forms:b"))
    assert (job.state, job.finished, world.published) == ("done", ["forms:b"], ["a:2"])
    assert set(world.asked()) == {"b"}
    assert world.cursor("b") is None


def test_a_backfill_reads_the_other_forms_and_continues_with_the_one_that_failed(world: World) -> None:
    world.sit("a", "1")
    world.sit("b", "2")
    world.problems["a"] = VendorFault("no such form")

    job = world.run(world.job("forms:a", "forms:b"))
    assert (job.state, job.error, job.finished) == (FAILED, "no such form", ["forms:b"])
    assert world.published == ["a:2"]

    world.problems.clear()
    world.asked()
    assert world.run(job).state == "done"
    assert (set(world.asked()), sorted(world.published)) == ({"a"}, ["a:1", "a:2"])


def test_a_backfill_of_a_form_that_is_no_longer_listed_says_so(world: World) -> None:
    job = world.job("forms:a", "forms:b")
    job.cursors = {"forms:a": f"{START - 1000:.0f}"}
    world.restart(("b",))
    with pytest.raises(ConfigError, match=r'^sources\.eu-little: stream "forms:a" of .* is gone\. Remedy: '):
        world.run(job)
    with pytest.raises(ConfigError, match="is gone"):
        backfill.preview(world.services, job, world.callbacks)
    assert backfill_row(world.services, job)["progress"] == 0.0


def test_a_reconciliation_compares_every_form(world: World) -> None:
    world.sit("a", "1")
    world.sit("b", "2", "3")
    world.poll()
    world.sit("a", "4", at=START - 900)
    options = ReconcileOptions(since=START - 5000, until=START, fix=True, check=lambda: None, sleep=world.sleep)
    result = reconcile(world.services, NAME, options)
    assert (result.total("listed"), result.ids["missing"], result.fixed) == (4, ["a:4"], ["a:4"])


def test_a_reconciliation_of_the_other_forms_is_made_if_one_cannot_be_read(world: World, tmp_path: Path) -> None:
    world.sit("a", "1")
    world.poll()
    world.sit("a", "2", at=START - 900)
    world.sit("b", "3", at=START - 900)
    world.problems["a"] = VendorFault("no such form")
    options = ReconcileOptions(since=START - 5000, until=START, check=lambda: None, sleep=world.sleep)

    result = reconcile(world.services, NAME, options)
    assert (result.unread, result.ids["missing"], result.ids["unlisted"]) == (
        {"forms:a": "no such form"},
        ["a:3"],
        [],
    )
    assert Reconciliations(world.state).last(NAME) == result
    client = _client(_with_api(world, tmp_path))
    assert client.get(f"/api/v1/reconciliations/{result.id}").json["unread"] == {"forms:a": "no such form"}

    world.problems["b"] = world.problems["a"]
    with pytest.raises(VendorFault):
        reconcile(world.services, NAME, options)


def test_a_test_of_the_source_names_the_form_that_fails_and_reads_the_others(world: World) -> None:
    world.problems["a"] = VendorFault("source eu-little: no such form")
    done = list(steps(world.services, world.services.config.sources[NAME]))
    assert [(step.name, step.status) for step in done] == [("forms:a", "failure"), ("forms:b", "ok")]
    assert done[0].text == "no such form"


def test_an_alarm_names_the_one_form_that_fails(state: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without rounds of its own for each form, those of the others would push its failed ones out.
    monkeypatch.setattr("bridge.polling.cursors.HISTORY", 4)
    world = World(state, forms=tuple("abc"))
    world.problems["a"] = VendorFault("no such form")
    for minute in range(23):
        check_sources(world.services)
        if minute % 5 == 1:
            poll_once(world.services, NAME)
        world.moment += 60
    (alarm,) = alarms.raised_alarms(state, NAME)
    assert alarm.kind == POLL_FAILING
    assert re.fullmatch("forms:a: nothing read for .*; failed rounds: 5; no such form", alarm.value)


def test_the_history_keeps_some_rounds_of_each_stream(state: redis.Redis) -> None:
    cursors = Cursors(state)
    for number in range(ROUNDS_PER_STREAM * 20 + 5):
        report = RoundReport(stream=f"{number % 20}", from_cursor="", to_cursor="", started=number)
        cursors.record_round(NAME, report, streams=20)
    assert len(cursors.history(NAME)) == ROUNDS_PER_STREAM * 20 > HISTORY
    assert [report.started for report in cursors.history(NAME, limit=2)] == [124, 123]


def test_doctor_counts_the_polls_of_every_form(state: redis.Redis) -> None:
    world = World(state, forms=tuple("abcdefghij"), budget=(15, 600.0))
    (finding,) = [each for each in examine(world.services, outward=False) if each.name == f"source {NAME}"]
    assert finding.text == "20 polls per 10m, its budget is 15 calls"


def test_gauges_schedule_and_a_quicker_clock_know_every_form(world: World) -> None:
    world.poll()
    registry = CollectorRegistry()
    registry.register(StateCollector(world.services))
    for form in world.forms:
        labels = {"source": NAME, "stream": f"forms:{form}"}
        assert registry.get_sample_value("bridge_poll_last_success_timestamp_seconds", labels) == pytest.approx(
            world.moment, abs=1
        )
    assert f"poll {NAME}" in beat_schedule(world.services)
    vendor = with_time_scale(vendor_of(world.api), 60.0)
    assert list(streams(vendor, {"forms": ("x",)})) == ["forms:x"]
    assert streams(vendor, {"forms": ()}) == streams(vendor, {"forms": None}) == {}


def test_odd_names_of_forms_survive_keys_lists_and_the_api(state: redis.Redis, tmp_path: Path) -> None:
    world = World(state, forms=ODD)
    for number, form in enumerate(ODD):
        world.sit(form, f"{number}")
    services = _with_api(world, tmp_path)
    assert poll_once(services, NAME).outcome == "done"
    assert len(world.published) == len(ODD)
    assert len(services.cursors.history(NAME)) == len(ODD)

    client = _client(services)
    names = [f"forms:{form}" for form in ODD]
    assert sorted(client.get(f"/api/v1/sources/{NAME}").json["cursors"]) == sorted(names)
    page = Dashboard(services).get(f"sources/{NAME}")
    assert all(str(escape(name)) in page for name in names)
    assert "<b>" not in page
    for body in ({"streams": names}, {}):
        asked = {"source": NAME, "first": "1d", "last": "1m", "dry_run": True, **body}
        answer = client.post("/api/v1/backfills", json=asked)
        assert (answer.status_code, sorted(answer.json["streams"])) == (201, sorted(names))
        assert client.get(f"/api/v1/backfills/{answer.json['id']}").status_code == 200
    wrong = client.post("/api/v1/backfills", json={**asked, "streams": ["forms:a-b"]})
    assert wrong.status_code == 422
    assert 'unknown stream of eu-little: "forms:a-b"' in wrong.text.replace('\\"', '"')


def _client(services: Services) -> FlaskClient:
    client = create_app(services, gate=OpenGate()).test_client()  # type: ignore[arg-type]
    client.environ_base["HTTP_AUTHORIZATION"] = "Bearer op-token"
    return client


def _with_api(world: World, folder: Path) -> Services:
    """The world's services over a file that lists its forms."""
    path = folder / "bridge.yaml"
    listed = ", ".join("'" + form.replace("'", "''") + "'" for form in world.forms)
    path.write_text(
        "demo: true\nbridge: {name: acme, public_url: 'https://bridge.example.test'}\n"
        f"sources:\n  {NAME}: {{vendor: little, options: {{forms: [{listed}]}}}}\n{access_of({'operator': 'op-token'})}"
    )
    vendors: Mapping[str, Vendor] = {"little": vendor_of(world.api)}
    config = loader.read(path, vendors=vendors, environment={})
    assert config.sources[NAME].options["forms"] == world.forms
    return replace(world.services, config=config)


def test_the_contract_suites_poll_the_first_listed_item() -> None:
    vendor = vendor_of(Api(clock=lambda: START))
    poll = replace(vendor.polls["forms"], fetch=lambda client, cursor, form: (client, cursor, form))
    vendor = replace(vendor, polls={"forms": poll, "all": poll_by_time(lambda client, cursor: (client, cursor))})
    bench_polls = polls_of(vendor, {"forms": ("a", "b")})
    assert bench_polls["forms"].fetch("client", "7") == ("client", "7", "a")
    assert bench_polls["all"].fetch("client", "7") == ("client", "7")
    with pytest.raises(pytest.fail.Exception, match="of the bench list no forms"):
        polls_of(vendor, {"forms": ()})


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"polls": {"a:b": None}}, '"a:b" is not the name of a stream'),
        ({"polls": {"history": None}}, '"history" is not the name of a stream'),
        ({"options": {}}, 'polls["forms"].per: "forms" is not an option of kind list. Remedy: declare it'),
        ({"options": {"forms": Option(help="one form")}}, 'per: "forms" is not an option of kind list'),
    ],
)
def test_a_stream_that_could_not_be_polled_is_refused_when_it_is_declared(changes: Any, problem: str) -> None:
    vendor = vendor_of(Api(clock=lambda: START))
    if "polls" in changes:
        changes = {"polls": dict.fromkeys(changes["polls"], vendor.polls["forms"])}
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the message is compared
        replace(vendor, **changes)
    assert str(refusal.value).startswith("little: ")
    assert problem in str(refusal.value)
