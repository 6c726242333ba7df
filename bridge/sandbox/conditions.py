"""Under which conditions a demo runs, and the bridge.yaml that follows from them. Starts nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

__all__ = ["SCALE", "SUBSCRIPTIONS", "Conditions", "Places", "VendorPlace", "configuration"]

#: The sandbox's time: what takes a vendor's people or the bridge an hour takes 30 s.
SCALE = 120.0
#: Subscriptions of the generated file; the fourth subscriber reads the journal itself and needs none.
SUBSCRIPTIONS = ("gradebook", "warehouse", "crm")
#: What simulated vendors allow in the sandbox's time; what the others allow is enough as it is.
_BUDGETS: Mapping[str, Mapping[str, Any]] = {
    "classmarker": {"calls": 30, "per": f"{3600 / SCALE:g}s"},
    "mettl": {"calls": 120, "per": f"{120 / SCALE:g}s"},
    "coremetrix": {"calls": 120, "per": f"{120 / SCALE:g}s"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Shares are 0-1, times seconds. `attempts` None: without end. `patience`: how long `once` waits after the last."""

    vendors: tuple[str, ...] = ("classmarker",)
    attempts: int | None = None
    seed: int = 1
    lose: float = 0.1
    duplicate: float = 0.15
    delay: float = 5.0
    reorder: bool = False
    fail_subscriber: float = 0.2
    once: bool = False
    patience: float = 60.0

    @property
    def per_second(self) -> float:
        """Attempts finished a second: a trickle to watch, or all within 40 s up to a rate that polls can follow."""
        if self.attempts is None:
            return 1.0
        return min(max(self.attempts / 40, 4.0), 10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorPlace:
    """Where one simulated vendor is, and what a source needs to read it. `token`: last part of its webhook address."""

    base_url: str
    credentials: Mapping[str, str | tuple[str, ...]]
    options: Mapping[str, Any]
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Addresses and secrets that one run has made up."""

    web_url: str
    crm_url: str
    crm_secret: str
    vendors: Mapping[str, VendorPlace]


def configuration(places: Places) -> str:
    """The text of bridge.yaml: an ordinary file with short intervals. Nothing in it says that time is compressed."""
    #: Ten tries within about 20 s: a subscriber that refuses every fifth event gets all of them.
    retry = {"schedule": ["300ms", "500ms", "1s", "1s", "2s", "2s", "3s", "5s", "5s"]}
    document: dict[str, Any] = {
        "demo": True,
        "bridge": {"name": "demo", "public_url": places.web_url, "data_dir": "."},
        "sources": {name: _source(name, place) for name, place in places.vendors.items()},
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
                "url": places.crm_url,
                "secrets": [places.crm_secret],
                "allow_private": True,
                "data": "minimal",
                "retry": retry,
            },
        },
    }
    return "# Written by `attempt-bridge demo` at every start; changes are lost.\n" + yaml.safe_dump(
        document, sort_keys=False
    )


def _source(vendor: str, place: VendorPlace) -> dict[str, Any]:
    found: dict[str, Any] = {
        "vendor": vendor,
        "base_url": place.base_url,
        "credentials": {
            name: list(value) if isinstance(value, tuple) else value for name, value in place.credentials.items()
        },
        "webhook": {"token": place.token},
        # The overlap is longer than grading takes in the sandbox: a grade does not move an attempt's finish.
        "poll": {"every": "6s", "overlap": "30s", "look_back": "10m"},
    }
    if place.options:
        found["options"] = dict(place.options)
    if vendor in _BUDGETS:
        found["budget"] = dict(_BUDGETS[vendor])
    return found
