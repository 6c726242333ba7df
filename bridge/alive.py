"""`python -m bridge.alive worker`: exit 0 while the heartbeat of that part is there. For checks of containers."""

from __future__ import annotations

import sys

from bridge import keys, services
from bridge.errors import BridgeError
from bridge.journal.publishing import state_errors
from bridge.settings import read_settings

__all__ = ["main"]


def main(part: str) -> int:
    """0 or 1; a line on stderr says why it is 1."""
    try:
        # The address is enough: reading the whole configuration would cost more than the question.
        state = read_settings().state or services.load().state_url
        with state_errors(), services.state_client(state) as client:
            alive = client.exists(keys.heartbeat(part))
    except BridgeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if not alive:
        sys.stderr.write(f"{part}: no heartbeat\n")
    return 0 if alive else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
