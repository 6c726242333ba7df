"""Sample events of every vendor and type, signed on demand, for tests of receivers. All persons are invented."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from copy import deepcopy
from importlib.resources import files
from typing import Any, Optional, Union

from attempt_bridge_client.signature import sign

__all__ = ["Samples"]


class Samples:
    """Each call returns a copy, which may be changed: `event["data"]["result"]["passed"] = None`."""

    #: A secret that protects nothing: use it only for tests.
    secret = "whsec_" + base64.b64encode(b"a secret for tests, no more").decode()

    def __init__(self) -> None:
        self._known = json.loads(files("attempt_bridge_client").joinpath("samples.json").read_text("utf-8"))
        self.vendors: tuple[str, ...] = tuple(self._known["attempts"])
        """The vendors, as in `bridgevendor`."""
        self.notice_types: tuple[str, ...] = tuple(self._known["notices"])
        """Types of the notices, including the test of a subscription."""

    def attempt(self, vendor: str = "classmarker", what: str = "completed") -> dict[str, Any]:
        """An event about one attempt of the vendor. `what`: `completed`, `revised` or `voided`.

        Raises `KeyError`.
        """
        return deepcopy(self._known["attempts"][vendor][what])

    def notice(self, kind: str) -> dict[str, Any]:
        """A notice of this type, such as `attempt.overdue`. Raises `KeyError`."""
        return deepcopy(self._known["notices"][kind])

    def signed(
        self,
        event: Mapping[str, Any],
        secrets: Optional[Union[str, Iterable[str]]] = None,
        *,
        now: Optional[float] = None,
    ) -> tuple[bytes, dict[str, str]]:
        """Body and headers of the request that the bridge would send now, or at `now` (UNIX seconds).

        `secrets`: default `Samples.secret`.
        """
        body = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
        headers = sign(body, event["id"], self.secret if secrets is None else secrets, now=now)
        return body, {"content-type": "application/cloudevents+json", **headers}
