"""The package for receivers by itself: nothing of the bridge is imported, so that any Python can run this file."""

from __future__ import annotations

import base64
import inspect
import json
import pickle
import sqlite3
import threading
from contextlib import closing, contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from attempt_bridge_client import (
    DUPLICATE,
    NEW,
    SUPERSEDED,
    AttemptEvent,
    ConfigurationError,
    Event,
    EventRejected,
    Notice,
    ReceiptFailed,
    Verifier,
    confirmed_by,
    create_tables_sql,
    idempotent,
    mark,
    receipt,
    sign,
    verify,
)
from attempt_bridge_client.samples import Samples

SAMPLES = Samples()
OTHER = "whsec_" + base64.b64encode(b"another secret for tests").decode()
NOW = 1_795_219_200.0


def an_event(what="completed", vendor="classmarker"):
    return Event.from_mapping(SAMPLES.attempt(vendor, what))


# Events --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vendor", SAMPLES.vendors)
@pytest.mark.parametrize("what", ["completed", "revised", "voided"])
def test_an_event_of_every_vendor_is_read(vendor, what):
    document = SAMPLES.attempt(vendor, what)
    event = Event.from_json(json.dumps(document))
    assert isinstance(event, AttemptEvent)
    assert (event.id, event.bridgevendor, event.bridgetest) == (document["id"], vendor, False)
    assert event.data.attempt.revision == {"completed": 1, "revised": 2, "voided": 3}[what]
    assert event.data.attempt.status == ("voided" if what == "voided" else "completed")
    assert event.data.result.score == document["data"]["result"]["score"]
    assert [section.name for section in event.data.sections] == [each["name"] for each in document["data"]["sections"]]
    assert (event.data.result.previous is None) == (what == "completed")
    assert event.extra == event.data.extra == event.data.result.extra == {}


@pytest.mark.parametrize("kind", SAMPLES.notice_types)
def test_a_notice_of_every_type_is_read(kind):
    document = SAMPLES.notice(kind)
    event = Event.from_mapping(document)
    assert isinstance(event, Notice)
    (member,) = document["data"]
    there = [name for name in ("watch", "consent", "alarm", "subscription", "test") if getattr(event.data, name)]
    assert there == [member]
    assert event.bridgetest == (kind == "bridge.test")


def test_times_are_aware():
    event = an_event()
    assert event.data.attempt.completed_at == datetime.fromisoformat("2026-01-01T10:01:54+00:00")


def test_what_a_later_minor_version_adds_is_kept_beside():
    document = SAMPLES.attempt()
    document["bridgenew"], document["data"]["new"], document["data"]["attempt"]["new"] = "a", {"b": 1}, [2]
    document["data"]["result"]["grading"] = "a new word"
    event = Event.from_mapping(document)
    assert (event.extra, event.data.extra) == ({"bridgenew": "a"}, {"new": {"b": 1}})
    assert event.data.attempt.extra == {"new": [2]}
    assert event.data.result.grading == "a new word"


def test_an_event_of_a_type_that_a_later_version_adds_has_its_data_as_it_came():
    document = {**SAMPLES.attempt(), "type": "attempt.started", "data": {"x": 1}}
    event = Event.from_mapping(document)
    assert type(event) is Event
    assert event.data == {"x": 1}


def test_a_subscription_may_be_sent_only_some_fields():
    document = SAMPLES.attempt()
    document["data"] = {"attempt": {"id": "a", "revision": 2, "status": "voided"}, "result": {"passed": True}}
    data = Event.from_mapping(document).data
    assert (data.attempt.revision, data.result.passed, data.result.score) == (2, True, None)
    assert (data.candidate.email, data.assessment.group, data.sections, data.vendor.ids) == (None, None, (), {})


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("data", "attempt", "revision"), "1", "data.attempt.revision: not of the promised type"),
        (("data", "attempt", "revision"), True, "data.attempt.revision: not of the promised type"),
        (("data", "attempt", "revision"), 1.5, "data.attempt.revision: not of the promised type"),
        (("data", "attempt", "id"), None, "data.attempt.id: not of the promised type"),
        (("data", "attempt"), {}, "data.attempt.id: missing"),
        (("data", "attempt", "completed_at"), "yesterday", "data.attempt.completed_at: not of the promised type"),
        (("data", "attempt", "completed_at"), "2026-01-01", "data.attempt.completed_at: not of the promised type"),
        (("time",), "0001-01-01T00:00:00+23:59", "time: not of the promised type"),
        (("data", "result", "score"), float("nan"), "data.result.score: not of the promised type"),
        (("data", "result"), [], "data.result: not of the promised type"),
        (("data", "flags"), [1], "data.flags: not of the promised type"),
        (("data", "sections"), [None], "data.sections[0]: not an object"),
        (("data",), None, "data: not of the promised type"),
        (("specversion",), "2.0", "specversion: not 1.0"),
    ],
)
def test_what_is_not_of_the_promised_type_is_refused_by_name(path, value, message):
    document = SAMPLES.attempt()
    holder = document
    for name in path[:-1]:
        holder = holder[name]
    holder[path[-1]] = value
    with pytest.raises(EventRejected) as caught:
        Event.from_mapping(document)
    assert (str(caught.value), caught.value.reason, caught.value.status) == (message, "unreadable", 422)


def test_a_notice_is_always_sent_whole():
    document = SAMPLES.notice("attempt.overdue")
    del document["data"]["watch"]["reference"]
    with pytest.raises(EventRejected, match=r"^data\.watch\.reference: missing$"):
        Event.from_mapping(document)


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"a": NaN}', b"\xff", b"[" * 100_000, b'{"type": []}', b"{}"])
def test_what_is_no_event_is_refused(body):
    with pytest.raises(EventRejected) as caught:
        Event.from_json(body)
    assert caught.value.reason == "unreadable"


def test_a_rejection_crosses_processes():
    error = pickle.loads(pickle.dumps(EventRejected("a", reason="unreadable")))
    assert (str(error), error.reason, error.status) == ("a", "unreadable", 422)


# Signatures ----------------------------------------------------------------------------------------------------------


def test_a_signed_request_gives_its_event_and_header_names_have_any_case():
    body, headers = SAMPLES.signed(SAMPLES.attempt(), now=NOW)
    assert verify(body, {name.title(): value for name, value in headers.items()}, SAMPLES.secret, now=NOW) == an_event()


@pytest.mark.parametrize("secrets", [[OTHER, SAMPLES.secret], [SAMPLES.secret, OTHER]])
def test_one_of_several_secrets_suffices_on_either_side(secrets):
    document = SAMPLES.attempt()
    for signing, checking in ((SAMPLES.secret, secrets), (secrets, SAMPLES.secret)):
        body, headers = SAMPLES.signed(document, signing, now=NOW)
        assert verify(body, headers, checking, now=NOW).id == document["id"]


@pytest.mark.parametrize("away", [-301, 301])
def test_a_request_is_refused_beyond_the_tolerance_and_taken_within_a_wider_one(away):
    body, headers = SAMPLES.signed(SAMPLES.attempt(), now=NOW)
    with pytest.raises(EventRejected) as caught:
        verify(body, headers, SAMPLES.secret, now=NOW + away)
    assert (caught.value.reason, caught.value.status) == ("timestamp_out_of_tolerance", 401)
    assert verify(body, headers, SAMPLES.secret, tolerance=302, now=NOW + away)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"webhook-id": None}, "missing_header"),
        ({"webhook-timestamp": ""}, "missing_header"),
        ({"webhook-signature": None}, "missing_header"),
        ({"webhook-timestamp": "soon"}, "malformed_header"),
        ({"webhook-timestamp": "1795219200.0"}, "malformed_header"),
        ({"webhook-timestamp": "9" * 5000}, "malformed_header"),
        ({"webhook-id": "a b"}, "malformed_header"),
        ({"webhook-id": "\ud800"}, "malformed_header"),
        ({"webhook-id": "another"}, "wrong_signature"),
        ({"webhook-timestamp": "1795219201"}, "wrong_signature"),
        ({"webhook-signature": "v1"}, "wrong_signature"),
        ({"webhook-signature": "v1,\ud800 ,,"}, "wrong_signature"),
        ({"webhook-signature": "v1a,AAAA"}, "wrong_signature"),
    ],
)
def test_headers_that_are_not_those_of_the_bridge_are_refused_with_a_reason(change, reason):
    body, headers = SAMPLES.signed(SAMPLES.attempt(), now=NOW)
    changed = {name: value for name, value in {**headers, **change}.items() if value is not None}
    with pytest.raises(EventRejected) as caught:
        verify(body, changed, SAMPLES.secret, now=NOW)
    assert caught.value.reason == reason


@pytest.mark.parametrize("changed", [lambda body: body + b" ", lambda body: body + b"\xff", lambda body: b""])
def test_a_changed_body_is_refused(changed):
    body, headers = SAMPLES.signed(SAMPLES.attempt(), now=NOW)
    with pytest.raises(EventRejected) as caught:
        verify(changed(body), headers, SAMPLES.secret, now=NOW)
    assert caught.value.reason == "wrong_signature"


def test_a_signed_body_that_is_no_event_is_unreadable():
    headers = sign(b"[]", "an-id", SAMPLES.secret, now=NOW)
    with pytest.raises(EventRejected) as caught:
        verify(b"[]", headers, SAMPLES.secret, now=NOW)
    assert caught.value.status == 422


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_AAAA", "whsec_?", "shared", "whsk_" + "A" * 44, "whpk_AAAA"])
def test_a_wrong_secret_is_found_when_the_verifier_is_built(secret):
    with pytest.raises(ConfigurationError) as caught:
        Verifier([SAMPLES.secret, secret])
    assert not secret or secret[6:] == "" or secret not in str(caught.value)
    with pytest.raises(ConfigurationError):
        Verifier([])


# Idempotency on sqlite3 ----------------------------------------------------------------------------------------------


@pytest.fixture
def database():
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(create_tables_sql())
        yield connection


def test_a_second_delivery_is_not_handled_and_a_failed_one_leaves_no_mark(database):
    calls, answers = [], [RuntimeError(), "done"]

    @idempotent(database)
    def handle(event, connection):
        assert connection is database
        calls.append(event.id)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert list(inspect.signature(handle).parameters) == ["event"]
    event = an_event()
    with pytest.raises(RuntimeError), database:  # rolls back
        handle(event)
    results = []
    for _ in range(2):
        with database:
            results.append(handle(event))
    assert (results, calls) == (["done", None], [event.id] * 2)


def test_a_lower_revision_after_a_higher_one_is_left_out_unless_it_is_wanted(database):
    assert [mark(database, an_event(what)) for what in ("revised", "completed", "revised", "voided")] == [
        *(NEW, SUPERSEDED, DUPLICATE, NEW)
    ]
    assert mark(database, an_event(vendor="mettl")) == NEW
    assert mark(database, Event.from_mapping(SAMPLES.notice("attempt.overdue"))) == NEW
    for skip, handled in ((True, 1), (False, 2)):
        database.rollback()
        got = []
        take = idempotent(database, skip_superseded=skip)(lambda event, _, got=got: got.append(event))
        take(an_event("voided"))
        take(an_event("revised"))
        assert len(got) == handled


def test_the_same_revision_under_another_id_is_handled(database):
    """An attempt that the bridge had forgotten: it is completed again, or void from the start."""
    document = SAMPLES.attempt()
    assert mark(database, Event.from_mapping(document)) == NEW
    assert mark(database, Event.from_mapping({**document, "id": "another", "type": "attempt.voided"})) == NEW


def test_the_same_id_of_another_source_is_another_event(database):
    document = SAMPLES.attempt()
    assert mark(database, Event.from_mapping(document)) == NEW
    assert mark(database, Event.from_mapping({**document, "source": "/test/sources/eu-classmarker"})) == NEW


def test_a_function_may_give_a_connection_or_a_transaction_that_ends_itself(tmp_path):
    path = str(tmp_path / "marks")

    @contextmanager
    def transaction():
        with closing(sqlite3.connect(path)) as opened, opened:
            yield opened

    with transaction() as opened:
        opened.executescript(create_tables_sql("main.bridge_"))
    got = []
    for _ in range(2):
        idempotent(transaction, prefix="bridge_")(lambda event, _: got.append(event.id))(an_event())
    assert len(got) == 1
    with transaction() as opened:
        idempotent(lambda: opened, prefix="bridge_")(lambda event, _: got.append(event.id))(an_event())
    assert len(got) == 1


def test_a_connection_that_commits_by_itself_is_refused_unless_a_transaction_is_open(database):
    database.isolation_level = None
    with pytest.raises(ConfigurationError, match="is in autocommit mode"):
        mark(database, an_event())
    database.execute("BEGIN")
    assert mark(database, an_event()) == NEW


def test_what_cannot_work_is_refused_at_once(database):
    async def handle(event, connection): ...

    for wrong in (object(), None, "default"):
        with pytest.raises(ConfigurationError):
            mark(wrong, an_event())
    with pytest.raises(ConfigurationError):
        idempotent(database)(handle)
    for prefix in ("", "a b", "a.b.c", "a;"):
        with pytest.raises(ConfigurationError):
            create_tables_sql(prefix)


# Receipts ------------------------------------------------------------------------------------------------------------


def test_a_handler_that_raises_confirms_nothing_and_a_receipt_that_fails_undoes_nothing(caplog):
    sent = []

    def send(event):
        sent.append(event.id)
        raise ReceiptFailed("no answer")

    @confirmed_by(send)
    def handle(event):
        if event.data.attempt.revision == 1:
            raise RuntimeError
        return "done"

    with pytest.raises(RuntimeError):
        handle(an_event())
    assert sent == []
    assert handle(an_event("revised")) == "done"
    assert sent == [an_event("revised").id]
    assert "receipt failed: no answer" in caplog.text


@pytest.fixture
def bridge():
    """A server that answers with the statuses in `answers`; `got` has what it was asked."""
    answers, got = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, self.headers["Authorization"], json.loads(body)))
            self.send_response(answers.pop(0))
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST  # how a redirect would be followed

        def log_message(self, *_): ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", answers, got
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_receipt_is_one_call_with_the_token_and_no_redirect_is_followed(bridge):
    url, answers, got = bridge
    confirm = receipt("gradebook", url=url + "/", token="secret")
    answers += [200, 200, 404, 302]
    confirm(an_event())
    confirm(an_event().id)
    confirm(Event.from_mapping(SAMPLES.notice("bridge.test")))
    call = ("/api/v1/receipts", "Bearer secret", {"subscription": "gradebook", "event_id": an_event().id})
    assert got == [call] * 2
    for status in (404, 302):
        with pytest.raises(ReceiptFailed) as caught:
            confirm(an_event())
        assert caught.value.status == status
    assert got[2:] == [call] * 2


def test_a_receipt_without_an_answer_fails_and_another_kind_of_address_is_refused():
    with pytest.raises(ReceiptFailed) as caught:
        receipt("gradebook", url="http://127.0.0.1:1", token="secret")(an_event())
    assert caught.value.status is None
    with pytest.raises(ConfigurationError):
        receipt("gradebook", url="file:///etc", token="secret")
