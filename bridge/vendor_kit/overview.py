"""The overview in `docs/vendors.md`: a table of all vendors, and how each fact is known. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from bridge.sdk.vendor import Quota, Vendor
from bridge.text import duration_text

__all__ = ["overview", "titles"]

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


def titles(vendors: Mapping[str, Vendor]) -> str:
    """The names of all vendors as people read them, as the end of a sentence."""
    *most, last = [vendor.title for vendor in vendors.values()]
    return f"{', '.join(most)} and {last}" if most else last


def _row(vendor: Vendor) -> tuple[str, ...]:
    sheet, limit = vendor.sheet, vendor.look_back_limit
    return (
        f"`{vendor.name}`",
        sheet.signs,
        sheet.identity,
        sheet.webhook_means,
        ", ".join(f"`{stream}`" for stream in vendor.polls) or "none: watches only",
        f"{sheet.quota}; default budget {_budget(vendor.quota)}",
        sheet.look_back if limit is None else f"{sheet.look_back}; at most {duration_text(limit)} are requested",
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
