"""Services that get messages: a chat over HTTP that answers as the test says, and a mail server."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

__all__ = ["Chat", "MailServer", "chat_server", "mail_server"]

#: Status, headers, body.
Reply = tuple[int, dict[str, str], bytes]


class Chat(ThreadingHTTPServer):
    """Takes messages as JSON. `reply` decides what is answered; None closes the connection without an answer."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _ChatHandler)
        self.reply: Callable[[str], Reply | None] = lambda path: (200, {}, b"ok")
        #: (path, JSON) of each request, accepted or not.
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.lock = threading.Lock()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Answer everything from now on like this."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self.reply = lambda path: (status, names, body)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        with self.lock:
            return [body for _, body in self.requests]


class _ChatHandler(BaseHTTPRequestHandler):
    server: Chat

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("content-length", 0)))
        with self.server.lock:
            self.server.requests.append((self.path, json.loads(content)))
        reply = self.server.reply(self.path)
        if reply is None:
            self.connection.close()
            return
        status, headers, body = reply
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def chat_server() -> Iterator[Chat]:
    server = Chat()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


@dataclass
class MailServer:
    """Takes mails. `reply`: to a mail, "" to accept it; `password`: of the user `bridge`."""

    port: int = 0
    password: str = "hunter2"
    reply: str = ""
    refused: tuple[str, ...] = ()
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:
        if address in self.refused:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        if self.reply:
            return self.reply
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))  # type: ignore[arg-type]
        self.recipients.append(list(envelope.rcpt_tos))
        return "250 accepted"

    def check(self, _server: Any, _session: Any, _envelope: Any, mechanism: str, data: Any) -> AuthResult:
        right = mechanism in ("LOGIN", "PLAIN") and isinstance(data, LoginPassword)
        return AuthResult(success=right and data.password == self.password.encode(), handled=False)


@contextmanager
def mail_server(**options: Any) -> Iterator[MailServer]:
    """`options`: of aiosmtpd's controller."""
    handler = MailServer()
    with socket.create_server(("127.0.0.1", 0)) as free:
        handler.port = free.getsockname()[1]
    controller = Controller(
        handler,
        hostname="127.0.0.1",
        port=handler.port,
        authenticator=handler.check,
        auth_require_tls="tls_context" in options,
        **options,
    )
    controller.start()
    try:
        yield handler
    finally:
        controller.stop()
