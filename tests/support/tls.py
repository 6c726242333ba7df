"""Certificates of an own CA, and a TLS listener in front of a plain server that notes every byte it is told."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.support.servers import need_program

__all__ = ["Authority", "TLSFront"]


#: The first byte of TLS: the type of its record.
_HANDSHAKE = b"\x16"


class Authority:
    """A CA below `directory`; `ca` is its certificate."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory, self.ca, self._key = directory, directory / "ca.pem", directory / "ca.key"
        subject = ("-subj", "/CN=CA of the tests", "-addext", "basicConstraints=critical,CA:TRUE")
        self._openssl("req", "-x509", *self._new(self._key), "-days", "2", *subject, "-out", str(self.ca))
        (directory / "index").write_text("")
        (directory / "ca.cnf").write_text(
            f"[ca]\ndefault_ca=own\n[own]\ndatabase={directory}/index\nrand_serial=yes\nnew_certs_dir={directory}\n"
            f"certificate={self.ca}\nprivate_key={self._key}\ndefault_md=sha256\npolicy=any\nunique_subject=no\n"
            "copy_extensions=copy\n[any]\ncommonName=supplied\n"
        )

    def issue(self, name: str, alternative: str, *, expired: bool = False) -> ssl.SSLContext:
        """A server's context with a certificate for `alternative`, such as DNS:localhost."""
        key, request, certificate = (self.directory / f"{name}.{kind}" for kind in ("key", "csr", "pem"))
        names = ("-subj", f"/CN={name}", "-addext", f"subjectAltName={alternative}")
        self._openssl("req", *self._new(key), *names, "-out", str(request))
        dates = ("-startdate", "20200101000000Z", "-enddate", "20200102000000Z") if expired else ("-days", "2")
        files = ("-in", str(request), "-out", str(certificate))
        self._openssl("ca", "-batch", "-notext", "-config", str(self.directory / "ca.cnf"), *dates, *files)
        return self._context(certificate, key)

    def self_signed(self, alternative: str) -> ssl.SSLContext:
        """A server's context with a certificate that nobody else has signed."""
        key, certificate = self.directory / "own.key", self.directory / "own.pem"
        names = ("-subj", "/CN=own", "-addext", f"subjectAltName={alternative}")
        self._openssl("req", "-x509", *self._new(key), "-days", "2", *names, "-out", str(certificate))
        return self._context(certificate, key)

    @staticmethod
    def _new(key: Path) -> tuple[str, ...]:
        return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(key))

    @staticmethod
    def _openssl(*arguments: str) -> None:
        subprocess.run([need_program("openssl"), *arguments], check=True, capture_output=True)

    @staticmethod
    def _context(certificate: Path, key: Path) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        return context


class TLSFront:
    """TLS on a free port of 127.0.0.1 in front of a plain server on `backend`. `told`: what clients sent inside TLS;
    `refused`: handshakes that failed. `also_plain`: takes connections without TLS, such as of a sentinel, too."""

    def __init__(self, context: ssl.SSLContext, backend: int | None = None, *, also_plain: bool = False) -> None:
        self._also_plain = also_plain
        self.told = bytearray()
        self.refused = 0
        self._context = context
        self._backend = backend
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _start(self, work: Callable[..., None], *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self) -> None:
        with suppress(OSError):  # shut down by the test
            while True:
                plain, _ = self._listener.accept()
                self._open.append(plain)
                self._start(self._serve, plain)

    def _serve(self, plain: socket.socket) -> None:
        plain.settimeout(30)
        client: socket.socket = plain
        try:
            is_plain = self._also_plain and plain.recv(1, socket.MSG_PEEK) != _HANDSHAKE
            if not is_plain:
                client = self._context.wrap_socket(plain, server_side=True)
        except OSError:
            self.refused += 1
            plain.close()
            return
        self._open.append(client)
        behind, back = None, None
        try:
            if self._backend:
                behind = socket.create_connection(("127.0.0.1", self._backend))
                self._open.append(behind)
                back = self._start(self._back, behind, client)
            client.settimeout(None)
            while data := client.recv(65536):
                self.told += b"" if is_plain else data
                if behind is not None:
                    behind.sendall(data)
        except OSError:
            # With TLS 1.3 the handshake is over for us before the client has judged the certificate.
            self.refused += not self.told
        finally:
            if behind is not None and back is not None:
                _end(behind)
                _end(client)
                back.join()
                behind.close()
            client.close()

    @staticmethod
    def _back(behind: socket.socket, client: socket.socket) -> None:
        with suppress(OSError, ValueError):
            while data := behind.recv(65536):
                client.sendall(data)

    def close(self) -> None:
        """End every connection. Each thread closes its own sockets: the number of one that another thread closes is
        given to the next file that is opened, and what TLS still has to say would be written into that."""
        _end(self._listener)
        for each in self._open:
            _end(each)
        for thread in self._threads:
            thread.join(30)
        self._listener.close()


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        # Not the method of an SSL socket, which forgets its TLS while another thread uses it.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
