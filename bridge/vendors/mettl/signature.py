"""The signature of an API request: `asgn` over method, address and the values of all parameters. Pure."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterable

__all__ = ["sign"]

#: Version in the path -> digest. Source: "API Authentication and Signature Generation", `QUIRKS.md`.
_DIGESTS = {"v1": "sha1", "v2": "sha256", "v3": "sha256"}


def sign(method: str, url: str, params: Iterable[tuple[str, str]], *, private_key: str, version: str) -> str:
    """`asgn` in plain base64; the sender encodes it once, like every other parameter.

    `url` without a query; `params` raw and without `asgn`. Values only, ascending by name, a line feed before each.
    """
    message = method.upper() + url + "".join(f"\n{value}" for _, value in sorted(params))
    return base64.b64encode(hmac.digest(private_key.encode(), message.encode(), _DIGESTS[version])).decode()
