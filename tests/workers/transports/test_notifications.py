"""Transport `notify`: one message for the events of a send, to each service once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge.config.model import Subscription
from bridge.errors import ConfigError
from bridge.notify.defaults import MessageTemplate
from bridge.notify.samples import sample
from tests.support.notified import Chat, MailServer, chat_server, mail_server
from workers.transports import transport_for, transport_or_deferred
from workers.transports.contract import Outgoing

NOW = 1_800_000_000.0


@pytest.fixture
def chat() -> Iterator[Chat]:
    with chat_server() as server:
        yield server


@pytest.fixture
def mails() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


def ops(*urls: str, **options: object) -> Subscription:
    members = {"allow_private": True, "public_url": "https://bridge.example.test", **options}
    return Subscription(name="ops", transport="notify", urls=urls, **members)  # type: ignore[arg-type]


def out(number: int, kind: str = "source.poll_failing", *, body: bytes | None = None, replay: str = "") -> Outgoing:
    return Outgoing(f"id-{number}", kind, "eu-exams", f"a{number}", body or sample(kind), replay)


def test_each_service_gets_a_message_once_even_if_another_refuses_it(chat: Chat, mails: MailServer) -> None:
    mail = f"mailto://bridge:hunter2@127.0.0.1:{mails.port}/?from=bridge@example.test&to=ops@example.test"
    transport = transport_for(ops(mail, f"json://127.0.0.1:{chat.port}/a"), "")
    chat.answer(503)
    (tried,) = transport.send([out(1)], now=NOW)
    assert tried.failure is not None
    assert (tried.failure.permanent, tried.status, str(tried.failure)) == (False, 503, "JSON: answered 503")
    chat.answer(200)
    (tried,) = transport.send([out(1)], now=NOW + 5)
    assert (tried.failure, tried.status, tried.answer) == (None, 200, b"accepted by E-Mail, JSON")
    # A reply of the state server was lost: the same again.
    assert transport.send([out(1)], now=NOW + 6)[0].failure is None
    assert (len(mails.mails), len(chat.requests)) == (1, 2)
    transport.send([out(1, replay="job-1")], now=NOW + 9)
    assert (len(mails.mails), len(chat.requests)) == (2, 3)
    assert "Sent again by a replay." in chat.bodies[-1]["message"]


def test_a_message_is_given_up_only_if_no_service_may_take_it_later(chat: Chat) -> None:
    transport = transport_for(ops(*(f"json://127.0.0.1:{chat.port}/{name}" for name in "ab")), "")
    chat.reply = lambda path: (404 if path == "/a" else 500, {}, b"")
    (tried,) = transport.send([out(1)], now=NOW)
    assert str(tried.failure) == "JSON: answered 500 (and 1 more)"
    assert tried.failure is not None
    assert not tried.failure.permanent
    chat.answer(404)
    (tried,) = transport.send([out(1)], now=NOW)
    assert tried.failure is not None
    assert (tried.failure.permanent, tried.failure.about_event) == (True, True)


def test_an_answer_that_a_service_cannot_read_keeps_no_other_from_the_message(chat: Chat) -> None:
    transport: Any = transport_for(ops("slack://xoxb-1234-1234-abc124/#ops", f"json://127.0.0.1:{chat.port}/b"), "")
    transport._services[0]._plugin.api_url = f"http://127.0.0.1:{chat.port}/{{}}"
    chat.reply = lambda path: (200, {}, b'["s3cret"]')
    with capture_logs() as logs:
        (tried,) = transport.send([out(1)], now=NOW)
    assert tried.failure is not None
    assert tried.failure.reason == "unexpected_error"
    assert chat.requests[-1][0] == "/b"
    assert "s3cret" not in str(tried.failure)
    assert [line["event"] for line in logs] == ["delivery_unexpected_error"]


def test_several_events_are_one_message_with_one_try_each(chat: Chat) -> None:
    transport = transport_for(ops(f"json://127.0.0.1:{chat.port}/"), "")
    tries = transport.send([out(number, "attempt.completed") for number in range(3)], now=NOW)
    assert [tried.failure for tried in tries] == [None] * 3
    (body,) = chat.bodies
    assert body["title"] == "3 events, all of them attempts"


def test_an_event_that_is_no_event_is_given_up_and_a_failing_template_is_logged(chat: Chat) -> None:
    own = {"source.*": MessageTemplate(title="{{ data.alarm.since|round }}")}
    transport = transport_for(ops(f"json://127.0.0.1:{chat.port}/", templates=own), "")
    (tried,) = transport.send([out(1, body=b'{"type": "source.poll_failing"}')], now=NOW)
    assert tried.failure is not None
    assert (tried.failure.permanent, tried.failure.reason) == (True, "unreadable_event")
    with capture_logs() as logs:
        assert transport.send([out(2)], now=NOW)[0].failure is None
    assert chat.bodies[0]["title"] == "eu-exams: no page could be read"
    (line,) = logs
    assert (line["event"], line["subscription"], line["template"]) == (
        "notify_template_failed",
        "ops",
        "source.poll_failing",
    )


def test_what_is_shown_is_the_message_and_no_address(chat: Chat) -> None:
    transport = transport_for(ops(f"json://user:s3cret@127.0.0.1:{chat.port}/s3cret"), "")
    shown = transport.shown(out(1), now=NOW)
    assert (shown.to, shown.headers) == ("JSON", {})
    assert shown.body.startswith(b"eu-exams: no page could be read\n\n6 rounds failed")


def test_an_address_that_names_no_service_holds_events_up_and_uses_no_try() -> None:
    with pytest.raises(ConfigError, match=r"subscriptions\.ops\.urls\[0\]"):
        transport_for(ops("nope://s3cret"), "")
    with capture_logs():
        transport = transport_or_deferred(ops("nope://s3cret"), "")
    (tried,) = transport.send([out(1)], now=NOW)
    assert tried.failure is not None
    assert (tried.failure.reason, tried.failure.charged) == ("not_servable", False)
    assert "s3cret" not in str(tried.failure)
