"""Under which conditions a demo runs, and the bridge.yaml that follows from them. Starts nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

__all__ = ["SCALE", "SOURCE", "SUBSCRIPTIONS", "Conditions", "Places", "configuration"]

#: The sandbox's time: an hour of the vendor's quota passes in 30 s, a sitting of an hour takes as long.
SCALE = 120.0
SOURCE = "classmarker"
#: Subscriptions of the generated file; the fourth subscriber reads the journal itself and needs none.
SUBSCRIPTIONS = ("gradebook", "warehouse", "crm")
#: What the vendor allows by its own account: 30 calls an hour.
QUOTA_CALLS, QUOTA_SECONDS = 30, 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Shares are 0-1, times seconds. `attempts` None: without end. `patience`: how long `once` waits after the last."""

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
class Places:
    """Addresses and secrets that one run has made up."""

    web_url: str
    vendor_url: str
    crm_url: str
    crm_secret: str
    api_key: str
    api_secret: str
    webhook_secret: str


def configuration(places: Places) -> str:
    """The text of bridge.yaml: an ordinary file with short intervals. Nothing in it says that time is compressed."""
    #: Ten tries within about 20 s: a subscriber that refuses every fifth event gets all of them.
    retry = {"schedule": ["300ms", "500ms", "1s", "1s", "2s", "2s", "3s", "5s", "5s"]}
    document: dict[str, Any] = {
        "demo": True,
        "bridge": {"name": "demo", "public_url": places.web_url, "data_dir": "."},
        "sources": {
            SOURCE: {
                "vendor": "classmarker",
                "base_url": places.vendor_url,
                "credentials": {
                    "api_key": places.api_key,
                    "api_secret": places.api_secret,
                    "webhook_secret": [places.webhook_secret],
                },
                # The overlap is longer than grading takes in the sandbox: a grade does not move an attempt's finish.
                "poll": {"every": "6s", "overlap": "30s", "look_back": "10m"},
                "budget": {"calls": QUOTA_CALLS, "per": f"{QUOTA_SECONDS / SCALE:g}s"},
            }
        },
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
