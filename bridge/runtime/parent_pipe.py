"""Ends a part of the bridge when the process that started it has ended, however it ended.

The parent holds the other end of the part's standard input. The kernel closes it when the parent ends, even after
`kill -9` of the parent and of everything that watches it.
"""

from __future__ import annotations

import os
import signal

# By name, before gevent replaces them: a process whose main loop hangs must end too.
from _thread import start_new_thread
from contextlib import suppress
from time import sleep

__all__ = ["end_with_parent"]

#: Time for the current call; after it the process group is killed.
_GRACE_SECONDS = 3.0


def end_with_parent() -> None:
    """Watch the standard input in a native thread. When it closes, the process gets SIGTERM, then its group SIGKILL.

    Threads do not survive a fork: call it in every process.
    """
    start_new_thread(_watch, ())


def _watch() -> None:
    # Nothing is ever sent; an error means that there is no pipe any more.
    with suppress(OSError):
        while os.read(0, 4096):
            pass
    os.kill(os.getpid(), signal.SIGTERM)
    sleep(_GRACE_SECONDS)
    # The supervisor made a group for only this part. A process outside such a group ends only itself.
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
