"""`python -m bridge.runtime.healthcheck worker`: exit 0 while the part has a fresh heartbeat. For containers."""

from __future__ import annotations

import sys

from bridge import services
from bridge.errors import BridgeError
from bridge.settings import read_settings
from bridge.state import keys
from bridge.state.client import state_client
from bridge.state.errors import state_errors
from bridge.state.expiry import exists_for

__all__ = ["main"]


def main(part: str) -> int:
    """0 or 1, with the reason on stderr."""
    try:
        # The address is enough: reading the whole configuration would cost more than the check.
        state = read_settings().state or services.load().state_url
        with state_errors(), state_client(state) as client:
            alive = exists_for(client, keys.heartbeat(part))
    except BridgeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if not alive:
        sys.stderr.write(f"{part}: no heartbeat\n")
    return 0 if alive else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
