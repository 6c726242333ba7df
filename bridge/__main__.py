"""`python -m bridge` is `attempt-bridge`."""

from __future__ import annotations

from bridge.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
