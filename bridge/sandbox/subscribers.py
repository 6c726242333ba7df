"""The example subscribers as child processes, and their output. They import nothing from the bridge."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import bridge
from bridge.errors import ConfigError
from bridge.runtime.processes import Address
from bridge.runtime.supervisor import Program
from bridge.sandbox.conditions import OUTPUTS, Addresses, Conditions
from bridge.state.keeper import kept

__all__ = ["SUBSCRIBERS", "Inbox", "programs"]

_RECEIVED = re.compile(r'"received": "([^"]+)"')

#: Subscribers of every demo; the first three are subscriptions of bridge.yaml, the last one reads the journal.
SUBSCRIBERS = ("gradebook", "warehouse", "crm", "certificates")


def programs(
    address: Address, addresses: Addresses, conditions: Conditions, environment: Mapping[str, str]
) -> list[Program]:
    """The subscribers' processes. Raises `ConfigError` when the examples are not installed."""
    examples = _examples()
    crm = ("--port", str(urlsplit(addresses.crm_url).port), "--secret", addresses.crm_secret)
    fail = ("--fail", f"{conditions.fail_subscriber:g}", "--seed", str(conditions.seed))
    celery = ("-A", "celery_subscriber", "--workdir", str(examples), "worker", "--queues", "gradebook")
    commands = {
        # One thread pool, no messages to other workers; otherwise the defaults.
        "gradebook": (
            "-m",
            "celery",
            *celery,
            "--pool",
            "threads",
            "--without-gossip",
            "--without-mingle",
            "-l",
            "WARNING",
        ),
        "warehouse": (str(examples / "kombu_subscriber.py"), "--broker", address.broker_url, "--queue", "warehouse"),
        "crm": (str(examples / "http_subscriber.py"), *crm, *fail),
        "certificates": (str(examples / "stream_subscriber.py"), "--state", address.state_url),
    }
    further = {
        "sql": (str(examples / "table_reader.py"), "--database", str(addresses.database)),
        "notify": (str(examples / "chat_receiver.py"), "--port", str(urlsplit(addresses.chat_url).port)),
        "xapi": (
            str(examples / "record_store.py"),
            *("--port", str(urlsplit(addresses.lrs_url).port), "--password", addresses.lrs_password),
        ),
    }
    commands |= {OUTPUTS[output]: further[output] for output in conditions.outputs}
    settings = {**environment, "PYTHONUNBUFFERED": "1", "GRADEBOOK_BROKER": address.broker_url}
    return [
        # Under a keeper, because they do not watch their parent themselves.
        Program(name=name, command=kept((sys.executable, *arguments), patience=3.0), environment=settings)
        for name, arguments in commands.items()
    ]


class Inbox:
    """The ids of the events that each subscriber has printed."""

    def __init__(self, outputs: Iterable[str] = ()) -> None:
        """`outputs`: further ones, of `OUTPUTS`."""
        names = (*SUBSCRIBERS, *(OUTPUTS[output] for output in outputs))
        self.received: dict[str, set[str]] = {name: set() for name in names}

    def take(self, name: str, line: str) -> bool:
        """Record a line of a process, and return whether it was a received event."""
        # Not parsed as JSON: threads of a subscriber may print into each other's lines.
        ids = _RECEIVED.findall(line) if name in self.received else []
        self.received.get(name, set()).update(ids)
        return bool(ids)


def _examples() -> Path:
    home = Path(bridge.__file__).resolve().parent
    for folder in (home / "sandbox" / "examples", home.parent / "examples"):
        if (folder / "celery_subscriber.py").exists():
            return folder
    raise ConfigError(f"no example subscribers beside {home}. Remedy: run the demo from a checkout")
