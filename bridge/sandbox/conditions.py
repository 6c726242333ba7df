"""The conditions of a demo, and its bridge.yaml. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bridge.sdk.vendor import Quota
from schemas.event import COMPLETED, REVISED, VOIDED

__all__ = ["OUTPUTS", "SCALE", "SUBSCRIPTIONS", "Addresses", "Conditions", "VendorAddress", "configuration"]

#: How much faster time runs in the demo: an hour takes 30 s.
SCALE = 120.0
#: Subscriptions of the generated file; the fourth subscriber reads the journal and needs none.
SUBSCRIPTIONS = ("gradebook", "warehouse", "crm")
#: What `--with` adds -> the name of its subscription.
OUTPUTS = {"sql": "results", "notify": "chat", "xapi": "lrs"}
#: Shortest period of a budget in a demo, in seconds.
_MIN_PERIOD = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """The options of the command; shares are from 0 to 1, times are in seconds."""

    vendors: tuple[str, ...] = ("classmarker",)
    #: None: endless.
    attempts: int | None = None
    seed: int = 1
    #: Share of webhooks lost.
    lose: float = 0.1
    #: Share of webhooks sent twice.
    duplicate: float = 0.15
    #: Maximum delay of a webhook.
    delay: float = 5.0
    reorder: bool = False
    #: Share of events that crm refuses.
    fail_subscriber: float = 0.2
    #: Stop when all attempts have arrived.
    once: bool = False
    #: How long `once` waits after the last attempt.
    patience: float = 60.0
    #: Further outputs, of `OUTPUTS`.
    outputs: tuple[str, ...] = ()

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """Names of the subscriptions of bridge.yaml."""
        return (*SUBSCRIPTIONS, *(OUTPUTS[output] for output in self.outputs))

    @property
    def per_second(self) -> float:
        """Attempts finished per second: one, or all of `attempts` within 40 s, up to a rate that polls keep up with."""
        if self.attempts is None:
            return 1.0
        return min(max(self.attempts / 40, 4.0), 10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorAddress:
    """The address of a simulated vendor, and what a source needs in order to read from it."""

    base_url: str
    quota: Quota
    credentials: Mapping[str, str | tuple[str, ...]]
    options: Mapping[str, Any]
    #: Last part of the webhook address; None: the vendor sends no webhooks.
    token: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """The addresses and secrets of one run."""

    web_url: str
    crm_url: str
    crm_secret: str
    #: Addresses of the further outputs: an SQLite file, and two servers on this machine.
    database: Path
    chat_url: str
    lrs_url: str
    lrs_password: str
    vendors: Mapping[str, VendorAddress]


def configuration(addresses: Addresses, outputs: Collection[str] = ()) -> str:
    """The text of bridge.yaml: an ordinary file with short intervals, without a trace of the time scale.

    `outputs`: further ones, of `OUTPUTS`.
    """
    # Ten tries within about 20 s: a subscriber that refuses every fifth event still gets all of them.
    retry = {"schedule": ["300ms", "500ms", "1s", "1s", "2s", "2s", "3s", "5s", "5s"]}
    further = _further(addresses)
    document: dict[str, Any] = {
        "demo": True,
        "bridge": {"name": "demo", "public_url": addresses.web_url, "data_dir": "."},
        "sources": {name: _source(name, address) for name, address in addresses.vendors.items()},
        "subscriptions": {
            "gradebook": {
                "transport": "celery",
                "task": "gradebook.attempt_completed",
                "queue": "gradebook",
                "retry": retry,
            },
            "warehouse": {"transport": "kombu", "queue": "warehouse", "retry": retry},
            "crm": {
                "transport": "http",
                "url": addresses.crm_url,
                "secrets": [addresses.crm_secret],
                "allow_private": True,
                "data": "minimal",
                "retry": retry,
            },
            **{
                OUTPUTS[output]: {**section, "retry": retry} for output, section in further.items() if output in outputs
            },
        },
    }
    return "# Written by `attempt-bridge demo` at every start; changes are overwritten.\n" + yaml.safe_dump(
        document, sort_keys=False
    )


def _further(addresses: Addresses) -> dict[str, dict[str, Any]]:
    """Output -> its subscription."""
    attempts = [COMPLETED, REVISED, VOIDED]
    return {
        "sql": {"transport": "sql", "url": f"sqlite:///{addresses.database}", "table": "results"},
        "notify": {
            "transport": "notify",
            "urls": [addresses.chat_url],
            "allow_private": True,
            "data": "full",
            "filter": {"types": attempts},
            "templates": {
                "attempt.*": {
                    "title": "{{ candidate|default('somebody', true) }}: {{ outcome }}",
                    "body": "{{ assessment }}, {{ score }}. {{ id }}",
                }
            },
        },
        "xapi": {
            "transport": "http",
            "url": addresses.lrs_url,
            "format": "xapi",
            "allow_private": True,
            "authorization": {"basic": {"user": "bridge", "password": addresses.lrs_password}},
        },
    }


def _source(vendor: str, address: VendorAddress) -> dict[str, Any]:
    source: dict[str, Any] = {
        "vendor": vendor,
        "base_url": address.base_url,
        "credentials": {
            name: list(value) if isinstance(value, tuple) else value for name, value in address.credentials.items()
        },
        # The overlap is longer than grading takes in the demo: grading does not change when an attempt finished.
        "poll": {"every": "6s", "overlap": "30s", "look_back": "10m"},
        # The vendor's own quota, in the demo's time.
        "budget": {
            "calls": address.quota.calls,
            "per": f"{max(_MIN_PERIOD, address.quota.per_seconds / SCALE):g}s",
        },
    }
    if address.token is not None:
        source["webhook"] = {"token": address.token}
    if address.options:
        source["options"] = dict(address.options)
    return source
