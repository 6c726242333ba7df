"""A TCP proxy between a client and a server that misbehaves on request: lost replies, swallowed bytes, resets."""

from __future__ import annotations

import random
import select
import socket
import struct
import threading
import time
from urllib.parse import urlsplit, urlunsplit

__all__ = ["Proxy"]

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Proxy:
    """Set `mode` at any time:

    `pass`        hand everything on
    `refuse`      reset new connections
    `blackhole`   swallow bytes in both directions (a bad middlebox; SIGSTOP of the server is something else)
    `hold_down`   hand requests on, hold the answers back
    `drop_reply`  hand a request that contains `match` on, then reset instead of its answer; `keep` times,
                  each with probability `share` drawn from `seed`

    A test must check `fired` at its end: a fault that never happened proves nothing.
    Limits: `match` must lie inside one recv; with pipelines the whole reply batch is dropped.
    """

    def __init__(self, host: str, port: int, *, seed: int = 0) -> None:
        self.target = (host, port)
        self.mode = "pass"
        self.match = b""
        self.keep = 0
        self.share = 1.0
        self.fired = 0
        self._random = random.Random(seed)
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @classmethod
    def before(cls, url: str, *, seed: int = 0) -> Proxy:
        """In front of the server of a `redis://host:port/db` address."""
        parts = urlsplit(url)
        return cls(parts.hostname or "127.0.0.1", parts.port or 6379, seed=seed)

    def url(self, url: str) -> str:
        """The same address through the proxy."""
        return urlunsplit(urlsplit(url)._replace(netloc=f"127.0.0.1:{self.port}"))

    def drop_replies(self, match: bytes, *, times: int, share: float = 1.0) -> None:
        """Lose the answers to the next `times` requests that contain `match`."""
        self.mode, self.match, self.keep, self.share = "drop_reply", match, times, share

    def cut(self) -> None:
        """Reset every open connection."""
        for pair in list(self._pairs):
            for side in pair:
                try:
                    side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                    side.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # already closed by its peer: that is what was wanted

    def close(self) -> None:
        # shutdown wakes the accept() of the other thread, close alone does not.
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()
        # Lets go of answers that are held back; their connections are cut.
        self.mode = "pass"

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            if self.mode == "refuse":
                self.fired += 1
                _reset(client)
                continue
            try:
                upstream = socket.create_connection(self.target, 2)
            except OSError:
                _reset(client)
                continue
            self._pairs.add((client, upstream))
            threading.Thread(target=self._pump, args=(client, upstream), daemon=True).start()

    def _pump(self, client: socket.socket, upstream: socket.socket) -> None:
        armed = False
        try:
            while True:
                for ready in select.select([client, upstream], [], [], 0.05)[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    if ready is client:
                        armed = armed or self._arms(data)
                        if self.mode != "blackhole":
                            upstream.sendall(data)
                        else:
                            self.fired += 1
                    elif armed:
                        # The server did the work, the client never learns.
                        self.fired += 1
                        return
                    else:
                        if self.mode == "hold_down":
                            self.fired += 1
                        while self.mode == "hold_down":
                            time.sleep(0.02)
                        if self.mode != "blackhole":
                            client.sendall(data)
        except (OSError, ValueError):
            return  # one side is gone; the other is reset below
        finally:
            self._pairs.discard((client, upstream))
            _reset(client)
            _reset(upstream)

    def _arms(self, data: bytes) -> bool:
        if self.mode != "drop_reply" or self.keep <= 0 or self.match not in data:
            return False
        if self._random.random() >= self.share:
            return False
        self.keep -= 1
        return True


def _reset(side: socket.socket) -> None:
    """RST instead of FIN."""
    try:
        side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    except OSError:
        return
    finally:
        side.close()
