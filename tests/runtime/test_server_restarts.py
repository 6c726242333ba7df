"""The embedded server is started again and again, however that fails; the failure is reported now and then."""

from __future__ import annotations

from typing import cast

from bridge.errors import BridgeError
from bridge.runtime.server_restarts import ServerRestarts
from bridge.state.embedded_server import EmbeddedServer


class FailingServer:
    """Does not start while `error` is set."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.lives = True
        self.starts: list[float] = []
        self.recorded: list[float] = []
        self.moment = 100.0

    def running(self) -> bool:
        return self.lives

    def record_use(self) -> None:
        self.recorded.append(self.moment)

    def start(self) -> bool:
        self.starts.append(self.moment)
        if self.error is not None:
            raise self.error
        self.lives = True
        return False


def test_it_is_tried_every_five_seconds_at_most_and_goes_on_when_there_is_room() -> None:
    server, said = FailingServer(), []
    restarts = ServerRestarts(
        cast("EmbeddedServer", server), lambda name, line: said.append(line), now=lambda: server.moment
    )
    server.lives, server.error = False, BridgeError("embedded server did not start: No space left on device")
    while server.moment < 220:
        restarts.check()
        server.moment += 0.1
    assert 20 <= len(server.starts) <= 35
    assert max(b - a for a, b in zip(server.starts, server.starts[1:], strict=False)) < 5.2
    assert len(said) == 2
    assert said[0].startswith("embedded server did not start: No space left on device. Trying again")
    server.error = OSError(28, "No space left on device")
    server.moment += 5
    restarts.check()
    assert said[-1].startswith("cannot start: No space left on device")
    server.error = None
    server.moment += 5
    restarts.check()
    assert server.lives
    assert said[-1] == "embedded server: started again"


def test_while_it_runs_how_far_it_is_is_written_down_every_30_s() -> None:
    server = FailingServer()
    restarts = ServerRestarts(cast("EmbeddedServer", server), lambda name, line: None, now=lambda: server.moment)
    for moment in range(100, 200):
        server.moment = float(moment)
        restarts.check()
    assert server.recorded == [130.0, 160.0, 190.0]
