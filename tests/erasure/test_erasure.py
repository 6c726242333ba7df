"""One person is erased from every place, another one stays; dry runs, crashes, and steps that are left out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
import redis
from flask.testing import FlaskClient

from bridge.config.model import Receipts, Subscription
from bridge.erasure import steps
from bridge.erasure.other_places import AuditPlace
from bridge.erasure.person import Matcher, Person
from bridge.erasure.places import Batch, Context, Hit
from bridge.erasure.steps import PLACES, STEPS
from bridge.errors import DeliveryFailed
from bridge.journal import Entry, RequestRecord
from bridge.sdk.records import Watch
from bridge.services import Services
from bridge.state import keys
from tests.support.cli import Run, runner
from tests.support.dispatch import Receiver, lane, run_until_idle
from tests.support.erasing import (
    OTHER,
    SAM,
    SUBSCRIPTIONS,
    Named,
    body_of,
    fill,
    finish,
    make_client,
    make_services,
    named_keys,
    places_of,
    send,
)
from tests.support.watches_api import TOKENS
from workers.dispatch.erasures import ErasureRunner
from workers.transports.contract import Outgoing

BY_EMAIL = {"source": "eu", "email": "sam.reyes@EXAMPLE.org"}
BY_ID = {"source": "eu", "candidate": SAM.user}
Snapshot = dict[str, tuple[Any, Any]]


class Killed(BaseException):
    """The process ended here."""


class LeftOut:
    """A step that does nothing."""

    def read(self, at: str, limit: int) -> Batch:
        return Batch((), None, 0)

    def erase(self, hits: Sequence[Hit]) -> None: ...


@pytest.fixture(scope="module")
def world(
    empty_state: Callable[[], redis.Redis], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Services, FlaskClient, Snapshot]:
    """A bridge, its API, and everything stored after two persons have been everywhere."""
    state = empty_state()
    services = make_services(state, tmp_path_factory.mktemp("world"))
    client = make_client(services)
    fill(services, client, OTHER)
    fill(services, client, SAM)
    assert named_keys(SAM) - places_of(state, SAM).keys() == set()
    assert named_keys(OTHER) - places_of(state, OTHER).keys() == set()
    stored_keys = cast("list[str]", list(state.scan_iter()))
    return services, client, {key: (state.dump(key), state.pttl(key)) for key in stored_keys}


@pytest.fixture
def services(world: tuple[Services, FlaskClient, Snapshot], monkeypatch: pytest.MonkeyPatch) -> Services:
    made, _, stored = world
    made.state.flushall()
    for key, (value, expiry) in stored.items():
        made.state.restore(key, max(expiry, 0), value)
    monkeypatch.setattr("bridge.cli.common.load", lambda **_: made)
    return made


@pytest.fixture
def api(world: tuple[Services, FlaskClient, Snapshot], services: Services) -> Iterator[FlaskClient]:
    _, client, _ = world
    before = dict(client.environ_base)
    yield client
    client.environ_base.update(before)


def begin(api: FlaskClient, **body: Any) -> str:
    answer = api.post("/api/v1/erasures", json=body)
    assert answer.status_code == 201, answer.json
    return cast("str", answer.json["id"])


def erased(services: Services, api: FlaskClient, **body: Any) -> dict[str, Any]:
    ident = begin(api, **body)
    finish(services)
    return cast("dict[str, Any]", api.get(f"/api/v1/erasures/{ident}").json)


def counts_by_place(row: dict[str, Any]) -> dict[str, int]:
    return {each["place"]: each["count"] for each in row["found"]}


@pytest.mark.parametrize("whom", [BY_EMAIL, BY_ID], ids=["email", "id"])
def test_a_person_is_gone_from_every_place_and_another_one_stays_as_it_was(
    services: Services, api: FlaskClient, whom: dict[str, str]
) -> None:
    before = places_of(services.state, OTHER)
    row = erased(services, api, **whom)
    assert places_of(services.state, SAM) == {}
    assert places_of(services.state, OTHER) == before
    # What is kept of the spelling of a key goes with its watch.
    assert set(PLACES) - counts_by_place(row).keys() == {"answers", "spellings", "tables"}
    assert (row["state"], row["progress"], row["error"]) == ("done", 1.0, "")
    assert row["oldest"] < row["newest"] < row["updated"]
    # A replay without its filter would replay everything.
    replays = {replay.job.filter: replay.state for replay in services.replays.newest_first()}
    assert replays == {'"erased"': "aborted", f"attempt:{OTHER.attempt}": "stopped"}


def test_a_dry_run_counts_the_same_and_changes_nothing(services: Services, api: FlaskClient) -> None:
    before = places_of(services.state, SAM)
    dry = erased(services, api, **BY_EMAIL, dry_run=True)
    assert places_of(services.state, SAM) == before
    assert [entry.action for _, _, entry in services.audit.newest_first() if "rasure" in entry.action] == []
    assert counts_by_place(erased(services, api, **BY_EMAIL)) == counts_by_place(dry)


def test_whatever_dies_at_each_point_of_each_step_nothing_is_left_and_nothing_is_counted_twice(
    services: Services, api: FlaskClient
) -> None:
    counts = counts_by_place(erased(services, api, **BY_EMAIL, dry_run=True))
    before = places_of(services.state, OTHER)
    ident = begin(api, **BY_EMAIL)
    died: set[tuple[str, int]] = set()

    def crash(point: str) -> None:
        job = services.erasures.get(ident)
        assert job is not None
        if (point, job.step) not in died:
            died.add((point, job.step))
            raise Killed

    for _ in range(20 * len(STEPS)):
        try:
            finish(services, crash)
        except Killed:
            continue
        break
    assert {step for _, step in died} == set(range(len(STEPS)))
    assert places_of(services.state, SAM) == {}
    assert places_of(services.state, OTHER) == before
    assert counts_by_place(api.get(f"/api/v1/erasures/{ident}").json) == counts


@pytest.mark.parametrize("left_out", [step for step in STEPS[1:-2] if step != "tables"])
def test_a_step_that_is_left_out_is_noticed(
    services: Services, api: FlaskClient, monkeypatch: pytest.MonkeyPatch, left_out: str
) -> None:
    monkeypatch.setitem(steps._PLACES, left_out, lambda context, now: LeftOut())
    if left_out == "answers":
        # An answer to somebody else's delivery mentions the person.
        name = keys.tries("book")
        for ident, value in services.state.hgetall(name).items():  # type: ignore[union-attr]
            if OTHER.email.encode() in value:
                services.state.hset(name, ident, value + f'\n[1, 2, 400, "", "no {SAM.email}"]'.encode())
    erased(services, api, **BY_EMAIL)
    assert places_of(services.state, SAM)


def test_answers_about_the_person_in_deliveries_of_others_are_removed_and_the_deliveries_stay(
    services: Services, api: FlaskClient
) -> None:
    state = services.state
    (original,) = [
        letter for letter in services.deliveries.dead_letters("crm") if OTHER.attempt == letter.delivery.attempt
    ]
    entry = original.id.partition(":")[2]
    ((_, fields),) = cast("list[Any]", state.xrange(keys.dead("crm"), entry, entry))
    tries = fields[b"tries"].replace(OTHER.email.encode(), SAM.email.encode())
    state.xadd(keys.dead("crm"), {**fields, b"tries": tries, b"id": b"another"})
    row = erased(services, api, **BY_EMAIL)
    assert (counts_by_place(row)["answers"], places_of(state, SAM)) == (1, {})
    (copy,) = [
        letter for letter in services.deliveries.dead_letters("crm") if letter.delivery.id == original.delivery.id
    ][:1]
    assert [letter.tries for letter in services.deliveries.dead_letters("crm") if not letter.tries] == [()]
    assert copy.event


def test_what_was_not_delivered_is_not_delivered_and_what_was_pending_blocks_nobody(
    services: Services, api: FlaskClient
) -> None:
    state = services.state
    # One event that a lane has read and not settled, one that none has read.
    send(api, body_of(SAM, time_started=SAM.started + 120))
    state.xreadgroup(keys.group("desk"), "killed", {keys.journal(0): ">"})
    send(api, body_of(SAM, time_started=SAM.started + 240))
    send(api, body_of(OTHER, time_started=OTHER.started + 240))
    assert counts_by_place(erased(services, api, **BY_EMAIL))["events"] == 5
    receiver = Receiver(None)
    dispatching = lane(state, receiver, subscription=SUBSCRIPTIONS["desk"])
    dispatching.adopt(lambda consumer: False)
    run_until_idle(dispatching, services.now() + 9e5, steps=1000)
    assert [event.attempt for event in receiver.got] == [f"group:{OTHER.user}:90011:50721:{OTHER.started + 240}"]
    assert cast("Any", state.xpending(keys.journal(0), keys.group("desk")))["pending"] == 0
    assert places_of(state, SAM) == {}


@pytest.mark.parametrize(
    ("subscription", "outcome"),
    [
        (SUBSCRIPTIONS["desk"], None),
        (SUBSCRIPTIONS["book"], DeliveryFailed("receiver answered 500", reason="receiver_error")),
        (SUBSCRIPTIONS["crm"], DeliveryFailed("receiver answered 500", reason="receiver_error")),
        (replace(SUBSCRIPTIONS["desk"], receipts=Receipts(required=True)), None),
    ],
    ids=["delivered", "retried", "given up", "handed over"],
)
def test_nothing_is_stored_about_an_event_that_is_being_sent_while_its_person_is_erased(
    services: Services, api: FlaskClient, subscription: Subscription, outcome: DeliveryFailed | None
) -> None:
    attempt = f"group:{SAM.user}:90011:50721:{SAM.started + 120}"
    begin(api, **BY_EMAIL)
    send(api, body_of(SAM, time_started=SAM.started + 120))
    sent = []

    def erase_first(event: Outgoing) -> DeliveryFailed | None:
        if event.attempt == attempt:
            sent.append(event.attempt)
            finish(services)
        return outcome

    run_until_idle(lane(services.state, Receiver(erase_first), subscription=subscription), services.now(), steps=1000)
    assert sent == [attempt]
    assert places_of(services.state, SAM) == {}


def test_an_erased_event_is_unknown_and_a_webhook_with_the_same_result_is_a_duplicate(
    services: Services, api: FlaskClient
) -> None:
    (ident,) = [event.id for event in services.journal_reader.events(attempt=SAM.attempt)]
    assert api.get(f"/api/v1/events/{ident}").status_code == 200
    erased(services, api, **BY_ID)
    assert api.get(f"/api/v1/events/{ident}").status_code == 404
    assert api.post("/api/v1/replays", json={"what": "events", "ids": [ident]}).status_code == 404
    size = services.state.xlen(keys.journal(0))
    send(api, body_of(SAM))
    assert services.state.xlen(keys.journal(0)) == size
    # A result that is not known is published as usual.
    send(api, body_of(SAM, points_scored=6.0, percentage=100.0))
    assert services.state.xlen(keys.journal(0)) == size + 1


def test_a_second_sitting_is_still_the_second_one(services: Services, api: FlaskClient) -> None:
    erased(services, api, **BY_EMAIL)
    now = services.now()
    assert services.sittings.resolve("eu", [(SAM.attempt, "sitting-2", None)], now=now) == [f"{SAM.attempt}:2"]
    assert services.sittings.resolve("eu", [(SAM.attempt, "sitting-1", None)], now=now) == [SAM.attempt]


def test_a_repeated_call_whose_answer_was_erased_gets_410_and_does_nothing(
    services: Services, api: FlaskClient
) -> None:
    erased(services, api, **BY_EMAIL)
    reference = {"stream": "group", "user": SAM.user, "test": "90012", "group": "50721"}
    watch = {"source": "eu", "reference": reference, "label": f"for {SAM.name}"}
    answer = api.post("/api/v1/watches", json=watch, headers={"Idempotency-Key": f"key-{SAM.user}"})
    assert answer.status_code == 410
    assert answer.json["detail"].endswith("Remedy: send a new Idempotency-Key")
    assert services.expectations.get("eu", f"?group:{SAM.user}:90012:50721") is None
    assert all(cast("int", services.state.ttl(key)) > 0 for key in services.state.scan_iter("ab:call:*"))


def test_an_address_that_others_have_too_is_not_used_to_find_more(services: Services, api: FlaskClient) -> None:
    shared = "class7@example.org"
    sam, noe = replace(SAM, user="7000001", email=shared), Named("7000002", "Noé", "Ferrer", shared, 1_767_200_000)
    for person in (sam, noe):
        send(api, body_of(person))
        send(api, body_of(person, points_scored="?"))
    erased(services, api, source="eu", candidate=sam.user)
    left = [event.attempt for event in services.journal_reader.events()]
    assert sam.attempt not in left
    assert noe.attempt in left
    bodies = [item.body for item in services.quarantine.list()]
    assert sum(sam.user.encode() in body for body in bodies) == 0
    assert sum(noe.user.encode() in body for body in bodies) == 1
    # By the address all of them are meant.
    erased(services, api, source="eu", email=shared)
    assert places_of(services.state, noe) == {}


def test_an_attempt_of_somebody_whom_the_person_invited_stays_and_its_webhook_goes(
    services: Services, api: FlaskClient
) -> None:
    theirs = replace(OTHER, started=OTHER.started + 600)
    send(api, body_of(theirs, time_started=theirs.started, invited_by=SAM.email))
    count = len(list(services.requests.list()))
    assert erased(services, api, **BY_EMAIL)["state"] == "done"
    assert [event.attempt for event in services.journal_reader.events(attempt=theirs.attempt)] == [theirs.attempt]
    assert SAM.email.encode() not in b"".join(request.body for request in services.requests.list())
    assert len(list(services.requests.list())) < count


def test_a_webhook_that_only_points_to_an_attempt_names_the_person_whose_watch_it_opened(
    services: Services, api: FlaskClient
) -> None:
    key = "attempt-of-the-pointer"
    record = RequestRecord(
        id="r1",
        source="eu",
        received_at=services.now(),
        headers={},
        body=body_of(SAM),
        outcome="watching",
        pointers=(key,),
    )
    services.journal.publish(Entry(request=record), now=services.now())
    watch = Watch(reference={"stream": "link"}, due_in=60.0, give_up_at=services.now() + 900)
    services.watches.open("eu", key, watch, now=services.now())
    erased(services, api, **BY_EMAIL)
    assert services.watches.get("eu", key) is None


def test_a_job_that_fails_forgets_the_person_and_says_what_to_do(
    services: Services, api: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise ValueError(SAM.email)

    before = places_of(services.state, SAM)
    monkeypatch.setitem(steps._PLACES, "quarantine", broken)
    row = erased(services, api, **BY_EMAIL)
    assert row["state"] == "failed"
    assert row["error"] == "internal error: ValueError; see the log of dispatch. Remedy: make it again"
    assert places_of(services.state, SAM).keys() <= before.keys()
    assert not [key for key in services.state.scan_iter("ab:{erasures}:*") if b":found:" in key or b":traces:" in key]
    assert b"person" not in cast("dict[bytes, bytes]", services.state.hgetall(keys.erasure_job(row["id"])))


def test_a_process_that_slept_while_it_copied_the_audit_does_not_cut_it(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.erasure.other_places._PAGE", 2)
    matcher = Matcher(Person(source="eu", candidate=SAM.user), [("name", "sámuel reyes")])
    context = Context(client=services.state, partitions=1, source="eu", subscriptions=(), matcher=matcher)
    entries = services.state.xlen(keys.audit())
    slow, quick = AuditPlace(context), AuditPlace(context)
    hits = slow.read("", 500).hits
    copy, steps_done = slow._copy, []

    def sleeps(**given: Any) -> Any:
        steps_done.append(given)
        if len(steps_done) == 2:
            quick.erase(hits)
        return copy(**given)

    slow._copy = sleeps  # type: ignore[assignment]
    with pytest.raises(RuntimeError, match="another process"):
        slow.erase(hits)
    assert (services.state.xlen(keys.audit()), len(hits)) == (entries, 1)
    assert slow.read("", 500).hits == []


def test_an_erasure_whose_file_cannot_be_written_says_so_and_goes_on_until_it_is(
    services: Services, api: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []
    for name, instead in (
        ("is_embedded", lambda *_: True),
        ("begin_rewrite", lambda client: begun.append(1)),
        ("is_rewriting", lambda client: False),
        # The disk is full at first.
        ("last_rewrite_failed", lambda client: len(begun) == 1),
    ):
        monkeypatch.setattr(f"workers.dispatch.erasures.{name}", instead)
    ident = begin(api, **BY_EMAIL)
    runner = ErasureRunner(services, "test")
    while not api.get(f"/api/v1/erasures/{ident}").json["error"]:
        runner.step(services.now)
    row = api.get(f"/api/v1/erasures/{ident}").json
    assert (row["state"], row["step"], places_of(services.state, SAM)) == ("running", "rewriting", {})
    assert "Remedy: free disk space" in row["error"]
    finish(services)
    row = api.get(f"/api/v1/erasures/{ident}").json
    assert (row["state"], row["error"], len(begun)) == ("done", "", 2)
    assert row["report"]["off_disk"] >= row["report"]["ended"]


def test_it_is_audited_by_a_digest_and_viewers_make_none(services: Services, api: FlaskClient) -> None:
    row = erased(services, api, **BY_ID)
    ended, made = [entry for _, _, entry in services.audit.newest_first() if entry.change.target.startswith("erasure ")]
    assert (made.action, made.actor, made.change.after) == (
        "addErasure",
        "operator",
        {"source": "eu", "person": "#" + digest()},
    )
    assert (ended.action, ended.change.after and ended.change.after["events"]) == ("eraseEnded", 3)
    assert row["person"] == "#" + digest()
    api.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {TOKENS['viewer']}"
    assert api.post("/api/v1/erasures", json=BY_ID).status_code == 403
    assert [job["id"] for job in api.get("/api/v1/erasures").json["erasures"]] == [row["id"]]
    assert api.get("/api/v1/erasures/erasure-x").status_code == 404


def digest() -> str:
    """As an operator makes it: `printf %s ID | sha256sum | cut -c1-12`."""
    return hashlib.sha256(SAM.user.encode()).hexdigest()[:12]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"source": "eu"}, "give either candidate or email"),
        ({"source": "eu", "candidate": "1", "email": "a@b.c"}, "give either candidate or email"),
        ({"source": "eu", "candidate": " "}, "is blank"),
        ({"source": "eu", "email": "sam"}, "is not an e-mail address"),
        ({"source": "moon", "candidate": "1"}, "moon"),
        ({"candidate": "1"}, "Missing data"),
    ],
)
def test_a_wrong_erasure_is_one_problem(api: FlaskClient, body: dict[str, Any], says: str) -> None:
    answer = api.post("/api/v1/erasures", json=body)
    assert answer.status_code == 422
    assert says in json.dumps(answer.json)


@pytest.fixture
def run(services: Services, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("bridge.cli.erase.follow.__kwdefaults__", {"sleep": lambda seconds: finish(services)})

    return runner(capfd)


def test_the_command_previews_erases_and_exits_3_if_there_is_nothing(services: Services, run: Run) -> None:
    code, out, err = run("erase", "--source", "eu", "--email", SAM.email, "--dry-run", "--json")
    assert (code, json.loads(out[out.index("{\n") :])["total"] > 20) == (0, True)
    assert err.splitlines()[-1] == "Nothing was removed: dry run."
    assert run("erase", "--source", "eu", "--email", SAM.email)[0] == 0
    assert places_of(services.state, SAM) == {}
    code, _, err = run("erase", "--source", "eu", "--email", SAM.email)
    assert (code, err.splitlines()[-1]) == (3, "nothing about this person at eu")
    code, _, err = run("erase", "--source", "eu", "--candidate", "nobody-8", "--no-wait")
    ident = err.split()[0]
    assert (code, run("erase", "--job", ident)[0]) == (0, 3)


def test_a_wrong_command_is_one_line(run: Run) -> None:
    for arguments, says in (
        (["--candidate", "1"], "--source is missing"),
        (["--source", "eu"], "give either --candidate or --email"),
        (["--source", "eu", "--candidate", "1", "--email", "a@b.c"], "give either --candidate or --email"),
        (["--job", "x", "--dry-run"], "--job can be combined only with"),
        (["--source", "moon", "--email", "not@either@one"], "is not an e-mail address"),
    ):
        code, out, err = run("erase", *arguments)
        assert (code, out, len(err.splitlines())) == (2, "", 1)
        assert says in err
        assert "either@" not in err


def test_two_processes_do_not_run_one_erasure_at_the_same_time(services: Services, api: FlaskClient) -> None:
    begin(api, **BY_ID)
    with pytest.raises(AssertionError, match="still running"):
        finish(services, steps=1, token="one")
    with pytest.raises(AssertionError, match="still running"):
        finish(services, steps=30, token="two")
    finish(services, token="one")
