"""`python -m bridge.vendor_kit [DIRECTORY]`: writes the generated parts of the documents in a checkout."""

from __future__ import annotations

import sys
from pathlib import Path

from bridge.errors import ConfigError
from bridge.vendor_kit.documents import write

if __name__ == "__main__":
    try:
        write(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
    except ConfigError as error:
        sys.exit(str(error))
