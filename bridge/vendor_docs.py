"""The overview in `docs/vendors.md`, made of what the vendor folders declare.

`python -m bridge.vendor_docs [FILE]` (or `scripts/docs`) writes it anew between its two markers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from bridge import registry
from bridge.errors import ConfigError
from bridge.sdk.vendor import Quota, Vendor
from bridge.text import duration_text

__all__ = ["BEGIN", "END", "overview", "renewed"]

BEGIN = "<!-- From here: written by scripts/docs out of bridge/vendors/*/__init__.py. -->"
END = "<!-- To here. -->"

_COLUMNS = ("vendor", "signs", "one attempt is", "a webhook means", "polled streams", "quota", "look-back")
_RELIANCE = """
How far each fact can be relied on: **documented**, the vendor says so; **observed**, seen in public traffic or code;
**assumed**, inferred, and harmless if wrong. **Ask** the vendor before going live.
"""


def overview(vendors: Mapping[str, Vendor]) -> str:
    """The table of all vendors, then the facts of each."""
    rows = [_COLUMNS, ("---",) * len(_COLUMNS), *(_row(vendor) for vendor in vendors.values())]
    table = "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows)
    facts = "\n".join("\n".join(_facts(vendor)) for vendor in vendors.values())
    return f"{table}\n{_RELIANCE}\n{facts}"


def renewed(text: str, vendors: Mapping[str, Vendor]) -> str:
    """The document with its overview written anew. Raises `ConfigError` where the markers are gone."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ConfigError(f"the overview has no place: put the lines {BEGIN} and {END} where it belongs")
    return f"{before}{BEGIN}\n\n{overview(vendors)}\n{END}{after}"


def _row(vendor: Vendor) -> tuple[str, ...]:
    sheet, limit = vendor.sheet, vendor.look_back_limit
    return (
        f"`{vendor.name}`",
        sheet.signs,
        sheet.identity,
        sheet.webhook_means,
        ", ".join(f"`{stream}`" for stream in vendor.polls) or "none: watches only",
        f"{sheet.quota}; default budget {_budget(vendor.quota)}",
        sheet.look_back if limit is None else f"{sheet.look_back}; at most {duration_text(limit)} are asked for",
    )


def _budget(quota: Quota) -> str:
    text = f"{quota.calls} per {duration_text(quota.per_seconds)}"
    return text if quota.resets_at is None else f"{text} from {quota.resets_at} UTC"


def _facts(vendor: Vendor) -> Iterator[str]:
    sheet = vendor.sheet
    yield f"### {vendor.title}: how we know\n"
    yield from _list("documented", sheet.documented)
    yield from _list("observed", sheet.observed)
    yield from _list("assumed", sheet.assumed)
    yield from _list("ask", sheet.ask)
    yield ""


def _list(word: str, lines: Iterable[str]) -> Iterator[str]:
    yield from (f"* **{word}**: {line}" for line in lines)


def main(file: Path) -> None:
    """Write the overview of `file` anew."""
    file.write_text(renewed(file.read_text(encoding="utf-8"), registry.vendors()), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/vendors.md"))
