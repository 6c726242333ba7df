"""Services that get messages, over real HTTP and SMTP: what is sent, what each answer means, what is never told."""

from __future__ import annotations

import logging
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apprise.plugins import N_MGR

from bridge.errors import ConfigError, DeliveryFailed
from bridge.notify.messages import WARNING, Message
from bridge.notify.services import Service, _is_guarded, open_services
from tests.support.dripping import DRIPS, Dripping
from tests.support.notified import Chat, MailServer, chat_server, mail_server
from tests.support.tls import Authority, TLSFront

TOKEN = "TIiajkdnlazkcOXrIdevi7FQ"
MESSAGE = Message("eu-exams: alarm", "No page <!channel> & more\nRemedy: [look](https://bridge.example)", WARNING)


@pytest.fixture
def chat() -> Iterator[Chat]:
    with chat_server() as server:
        yield server


@pytest.fixture
def mails() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


def service(url: str, *, allow_private: bool = True) -> Service:
    (opened,) = open_services([url], where="subscriptions.ops.urls", allow_private=allow_private)
    return opened


def slack(chat: Chat) -> Service:
    opened: Any = service(f"slack://T1JJ3T3L2/A1BRTD4JD/{TOKEN}/#ops")
    opened._plugin.webhook_url = f"http://127.0.0.1:{chat.port}/services"
    return opened  # type: ignore[no-any-return]


def sent(to: Service, message: Message = MESSAGE, *, seconds: float = 5.0) -> DeliveryFailed | None:
    return to.send(message, seconds=seconds, now=1_800_000_000.0)[0]


def refused(to: Service, **options: Any) -> DeliveryFailed:
    failure = sent(to, **options)
    assert failure is not None
    return failure


def mail_url(mails: MailServer, *, password: str = "hunter2", rest: str = "") -> str:
    return f"mailto://bridge:{password}@127.0.0.1:{mails.port}/?from=bridge@example.test&to=ops@example.test{rest}"


def test_slack_gets_the_message_as_text_that_calls_nobody(chat: Chat) -> None:
    assert sent(slack(chat)) is None
    ((path, body),) = chat.requests
    assert path == f"/services/T1JJ3T3L2/A1BRTD4JD/{TOKEN}"
    (attachment,) = body["attachments"]
    assert (attachment["title"], body["channel"]) == ("eu-exams: alarm", "#ops")
    assert attachment["text"].startswith("No page &lt;!channel&gt; &amp; more\n")
    # No picture is fetched from elsewhere.
    assert "https://github.com" not in str(body)


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_teams_gets_an_adaptive_card_over_tls(chat: Chat, starts_processes: None, tmp_path: Path) -> None:
    context = Authority(tmp_path).self_signed("IP:127.0.0.1")
    front = TLSFront(context, chat.port)
    try:
        # The certificate is nobody's.
        failure = refused(service(f"workflows://127.0.0.1:{front.port}/643e69f83c8944/{TOKEN}"))
        assert "TLS failed" in str(failure)
        assert sent(service(f"workflows://127.0.0.1:{front.port}/643e69f83c8944/{TOKEN}?verify=no")) is None
    finally:
        front.close()
    ((path, body),) = chat.requests
    assert path.startswith("/workflows/643e69f83c8944/triggers/manual/paths/invoke?")
    card = body["attachments"][0]["content"]
    assert (card["type"], card["body"][0]["text"]) == ("AdaptiveCard", "eu-exams: alarm")
    # Markdown is escaped, so the label of a link stays text.
    assert "\\[look\\]" in card["body"][1]["text"]


@pytest.mark.parametrize(
    ("status", "headers", "reason", "permanent", "said"),
    [
        (500, {}, "receiver_error", False, "Slack: answered 500"),
        (503, {"retry_after": "30"}, "receiver_error", False, "Slack: answered 503"),
        (429, {"retry_after": "30"}, "throttled", False, "Slack: answered 429"),
        (302, {"location": "http://127.0.0.1:1/"}, "redirect", True, "answered 302: redirects are not followed"),
        (403, {}, "receiver_refused", True, "answered 403. Remedy: check subscriptions.ops.urls[0]"),
        (404, {}, "receiver_refused", True, "Slack: answered 404"),
        (200, {}, "receiver_refused", False, "it did not accept the message"),
    ],
)
def test_an_answer_says_whether_to_try_again(
    chat: Chat, status: int, headers: dict[str, str], reason: str, permanent: bool, said: str
) -> None:
    chat.answer(status, b"invalid_token", **headers)
    failure = refused(slack(chat))
    assert (failure.reason, failure.permanent) == (reason, permanent)
    assert said in str(failure)
    assert failure.retry_after == (30.0 if "retry_after" in headers else None)
    assert len(chat.requests) == 1


@pytest.mark.parametrize("drip", ["status line", "headers", "body", "chunks", "nothing"])
def test_a_service_that_drips_takes_the_time_of_one_message(drip: str) -> None:
    server = Dripping(*DRIPS[drip])
    try:
        failure = refused(service(f"json://127.0.0.1:{server.port}/{TOKEN}"), seconds=0.4)
    finally:
        server.close()
    assert (failure.reason, str(failure)) == ("unreachable", "JSON: no answer in time")


def test_a_service_that_closes_or_is_not_there_is_tried_again(chat: Chat) -> None:
    chat.reply = lambda path: None
    assert refused(service(f"json://127.0.0.1:{chat.port}/x")).reason == "unreachable"
    failure = refused(service("json://127.0.0.1:1/x"))
    assert (failure.reason, failure.permanent, failure.about_event) == ("unreachable", False, False)


def test_of_a_giant_answer_only_the_beginning_is_read() -> None:
    server = Dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", b"x" * 1000, interval=0.0)
    try:
        assert sent(service(f"json://127.0.0.1:{server.port}/x")) is None
    finally:
        server.close()


def test_a_private_or_unencrypted_address_is_not_called_unless_that_is_allowed(chat: Chat, mails: MailServer) -> None:
    for url, said in (
        (f"jsons://127.0.0.1:{chat.port}/x", "address 127.0.0.1 is not public"),
        (f"jsons://localhost:{chat.port}/x", "localhost resolves to"),
        (f"json://127.0.0.1:{chat.port}/x", "is not encrypted"),
        (mail_url(mails), "127.0.0.1 resolves to 127.0.0.1, which is not public"),
    ):
        failure = refused(service(url, allow_private=False))
        assert failure.reason == "forbidden_address"
        assert said in str(failure)
    assert (chat.requests, mails.mails) == ([], [])


def test_a_mail_is_plain_text_with_a_subject(mails: MailServer) -> None:
    assert sent(service(mail_url(mails))) is None
    (mail,) = mails.mails
    assert (mail["subject"], "bridge@example.test" in str(mail["from"])) == ("eu-exams: alarm", True)
    assert mails.recipients == [["ops@example.test"]]
    assert mail.get_content_type() == "text/plain"
    assert mail.get_content().splitlines()[0] == "No page <!channel> & more"


def test_a_mail_in_html_shows_foreign_text_as_text(mails: MailServer) -> None:
    assert sent(service(mail_url(mails, rest="&format=html")), Message("a", "<img src=https://evil.example>")) is None
    (mail,) = mails.mails
    body = mail.get_body(("html",))
    assert body is not None
    assert "<img" not in body.get_content()
    assert "&lt;img" in body.get_content()


def test_an_answer_of_a_mail_server_says_whether_to_try_again(mails: MailServer) -> None:
    wrong = refused(service(mail_url(mails, password="guessed")))
    assert (wrong.reason, wrong.permanent) == ("receiver_refused", True)
    assert "E-Mail: answered 535. Remedy: check subscriptions.ops.urls[0]" in str(wrong)
    mails.reply = "451 greylisted"
    greylisted = refused(service(mail_url(mails)))
    assert (greylisted.reason, greylisted.permanent) == ("receiver_error", False)
    mails.reply = "554 spam"
    assert refused(service(mail_url(mails))).permanent
    mails.reply, mails.refused = "", ("ops@example.test",)
    assert refused(service(mail_url(mails))).permanent
    away = refused(service("mailto://bridge:x@127.0.0.1:1/?from=a@example.test&to=b@example.test"))
    assert (away.reason, away.permanent) == ("unreachable", False)


def test_a_mail_server_that_drips_takes_the_time_of_one_message() -> None:
    # Its greeting is complete after 0.8 s, so a client without a deadline would go on.
    server = Dripping(b"220 ", b"." * 40 + b"\r\n", hello=True)
    url = f"mailto://u:p@127.0.0.1:{server.port}/?from=a@example.test&to=b@example.test"
    try:
        assert refused(service(url), seconds=0.4).reason == "unreachable"
    finally:
        server.close()


def test_a_password_is_sent_encrypted(starts_processes: None, tmp_path: Path) -> None:
    context: ssl.SSLContext = Authority(tmp_path).self_signed("IP:127.0.0.1")
    with mail_server(tls_context=context) as mails:
        url = mail_url(mails).replace("mailto://", "mailtos://") + "&mode=starttls"
        assert "TLS failed" in str(refused(service(url)))
        assert sent(service(url + "&verify=no")) is None
        assert len(mails.mails) == 1


def test_a_password_is_not_sent_unencrypted_to_a_public_server(
    mails: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.notify.calls.resolve", lambda host, port, **_: [(2, ("127.0.0.1", port))])
    failure = refused(service(mail_url(mails), allow_private=False))
    assert "the password would be sent unencrypted; use mailtos://" in str(failure)
    assert mails.mails == []


def test_neither_log_nor_error_holds_a_token_a_password_or_the_message(
    chat: Chat, mails: MailServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("urllib3").setLevel(logging.INFO)
        texts = []
        for status in (200, 302, 403, 500):
            chat.answer(status, TOKEN.encode(), location=f"http://127.0.0.1/{TOKEN}")
            texts.append(str(refused(slack(chat))))
        texts.append(str(refused(service(f"json://user:{TOKEN}@127.0.0.1:1/{TOKEN}"))))
        texts.append(str(refused(service(mail_url(mails, password=TOKEN)))))
        with pytest.raises(ConfigError) as unknown:
            service(f"slack://{TOKEN}")
        texts.append(str(unknown.value))
    for forbidden in (TOKEN, "No page", "ops@example.test"):
        assert forbidden not in "\n".join([*texts, caplog.text])


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("syslog://", "Syslog is not supported: it does not use HTTP or mail"),
        ("irc://chat.example.test/#ops", "IRC is not supported"),
        ("nope://x", '"nope://" is not a service of Apprise'),
        ("slack://short", "Apprise does not understand this address"),
        ("https://example.test/hook", "Apprise does not understand this address"),
    ],
)
def test_an_address_that_cannot_be_used_is_one_clear_line(url: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        service(url)
    assert str(refused.value).startswith(f"subscriptions.ops.urls[0]: {said}")
    assert "\n" not in str(refused.value)


def test_services_with_connections_or_programs_of_their_own_are_refused() -> None:
    service("json://127.0.0.1/")  # every service is loaded
    kinds = {N_MGR[scheme] for scheme in N_MGR.schemas()}
    assert len(kinds) > 150
    refused = {kind.__module__.split(".")[2] for kind in kinds if not _is_guarded(kind)}
    desktops = {"blink1", "dbus", "glib", "gnome", "macosx", "windows"}
    gone = {"guilded", "jellyfin"}  # nothing but another service's name, or none any more
    assert refused - gone == desktops | {
        "amqp",
        "aprs",
        "deltachat",
        "growl",
        "irc",
        "mqtt",
        "rsyslog",
        "smpp",
        "syslog",
        "xmpp",
    }


def test_without_apprise_the_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(ConfigError) as refused:
        service("slack://a/b/c")
    assert str(refused.value) == (
        "subscriptions.ops.urls: Apprise, which transport notify needs, is not installed. "
        "Remedy: pip install 'apprise>=2.3,<2.4'"
    )
