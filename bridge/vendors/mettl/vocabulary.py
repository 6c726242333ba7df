"""Mettl's words for the state of an attempt, as tables, and what they mean. Pure; the reasons are in `QUIRKS.md`."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.errors import Unreadable, clip

__all__ = ["DETAILED", "MODES", "STATUSES", "AttemptState", "attempt_state", "fold"]

#: `status` -> ours. The vendor documents four of them; "Expired" is a test that ended offline.
STATUSES = {
    "tobetaken": "not_started",
    "inprogress": "in_progress",
    "inprocessing": "completed",
    "completed": "completed",
    "expired": "completed",
}
#: (`overallStatus`, `detailedStatus`) -> ours, whether it may still be resumed, and the documented words of `status`;
#: empty: the vendor documents only the pair, and any `status` may go with it.
DETAILED: dict[tuple[str, str], tuple[str, bool, frozenset[str]]] = {
    ("yet to start", "mapped"): ("not_started", False, frozenset({"tobetaken"})),
    ("yet to start", "invited"): ("not_started", False, frozenset({"tobetaken"})),
    ("yet to start", "registered"): ("not_started", False, frozenset({"tobetaken"})),
    ("not started", "access expired"): ("not_started", False, frozenset()),
    ("in-progress", "in-progress"): ("in_progress", False, frozenset({"inprogress"})),
    ("in-progress", "awaiting resume permission"): ("in_progress", False, frozenset({"inprogress"})),
    ("completed", "test-taker completed"): ("completed", False, frozenset({"inprocessing", "completed"})),
    ("completed", "time over"): ("completed", False, frozenset({"inprocessing", "completed"})),
    ("test stopped", "mic mute limit exceeded"): ("completed", False, frozenset()),
    ("test stopped", "browsing tolerance limit exceeded"): ("completed", False, frozenset()),
    ("test stopped", "proctor stopped"): ("completed", False, frozenset()),
    ("test stopped", "suspicious software detected"): ("completed", False, frozenset()),
    ("test stopped", "multiple screen detected"): ("completed", False, frozenset()),
    ("test stopped", "prohibited apps running"): ("completed", False, frozenset()),
    ("test stopped", "screen capture/recording detected"): ("completed", False, frozenset()),
    ("test stopped", "screen sharing/remote access detected"): ("completed", False, frozenset()),
    ("blocked", "authorizer blocked"): ("not_started", False, frozenset()),
    ("disconnected", "disconnected from server"): ("completed", True, frozenset()),
    ("disconnected", "test window closed"): ("completed", True, frozenset()),
    ("disconnected", "awaiting test-taker resume"): ("in_progress", False, frozenset()),
}
#: `completionMode` -> what it adds: nothing, `provisional` (may be resumed), or another status.
MODES = {
    "autocompleted": None,
    "completed": None,
    "parentfinished": None,
    "candidateclosed": None,
    "proctoredfinish": None,
    "browsingtoleranceexceeded": None,
    "suspicioussoftwarefinish": None,
    "expired": "provisional",
    "resumeenabled": "in_progress",
    "na": "not_started",
}


@dataclass(frozen=True, slots=True)
class AttemptState:
    """What Mettl's words mean."""

    #: One of `STATUSES`.
    status: str
    #: One of `GRADINGS`; whether there are marks at all is not considered.
    grading: str


def fold(word: str | None) -> str:
    """A word in lower case with one blank between parts: the vendor's own pages differ in both."""
    return " ".join((word or "").split()).casefold()


def attempt_state(
    status: str | None, overall: str | None, detailed: str | None, mode: str | None, *, has_result: bool
) -> AttemptState:
    """What the four words mean together. Raises `Unreadable` for unknown words or pairs, and for words that contradict
    each other: an attempt is never published on a guess."""
    ours, resumable = _status(fold(status), fold(overall), fold(detailed))
    ended = fold(mode)
    if ended and ended not in MODES:
        raise _unknown("completionMode", mode, MODES)
    change = MODES.get(ended)
    if change == "not_started" and (ours == "completed" and has_result):
        raise Unreadable("completionMode is NA (blocked), but there is a result", reason="contradiction")
    if change in ("in_progress", "not_started"):
        return AttemptState(change, "not_scored")
    if ours != "completed":
        return AttemptState(ours, "not_scored")
    if fold(status) == "inprocessing" or not has_result:
        return AttemptState(ours, "pending")
    return AttemptState(ours, "provisional" if resumable or change == "provisional" else "final")


def _status(status: str, overall: str, detailed: str) -> tuple[str, bool]:
    """Ours, and whether the attempt may still be resumed."""
    if not overall and not detailed:
        # Older answers have `status` alone.
        if status not in STATUSES:
            raise _unknown("status", status, STATUSES)
        return STATUSES[status], status == "expired"
    entry = DETAILED.get((overall, detailed))
    if entry is None:
        pair = f'overallStatus and detailedStatus are "{clip(overall, 40)}" and "{clip(detailed, 40)}"'
        raise Unreadable(f"{pair}: unknown pair", reason="unknown_word")
    ours, resumable, words = entry
    if words and status not in words:
        if status not in STATUSES:
            raise _unknown("status", status, STATUSES)
        raise Unreadable(
            f'status "{clip(status, 40)}" contradicts detailedStatus "{clip(detailed, 40)}"', reason="contradiction"
        )
    return ours, resumable


def _unknown(member: str, word: str | None, known: dict[str, str] | dict[str, str | None]) -> Unreadable:
    return Unreadable(f'{member} is "{clip(word or "", 40)}". Known: {", ".join(known)}', reason="unknown_word")
