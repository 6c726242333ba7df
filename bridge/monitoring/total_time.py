"""A limit on the total time of a check of a server, because every byte renews a socket's time-out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator

from bridge.monitoring.server_checks import Finding

__all__ = ["TOTAL_SECONDS", "within"]

#: Time of all checks of one server.
TOTAL_SECONDS = 20.0


def within(check: Callable[[], Iterable[Finding]], late: Callable[[str], Finding]) -> Iterator[Finding]:
    """The findings of `check`; after `TOTAL_SECONDS`, those made so far and what `late` returns for the problem.

    A check that is late is left to a thread that ends with the process. Raises what `check` raises.
    """
    seconds, findings, errors = TOTAL_SECONDS, list[Finding](), list[BaseException]()

    def run() -> None:
        try:
            for finding in check():
                findings.append(finding)
        except BaseException as error:  # noqa: BLE001 - raised by the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True, name="check")
    thread.start()
    thread.join(seconds)
    is_late = thread.is_alive()
    yield from tuple(findings)
    if is_late:
        yield late(f"no complete answer within {seconds:g} s")
    elif errors:
        raise errors[0]
