"""The state of an attempt: the vendor's words for a result, translated into our status, grading and verdict. Pure."""

from __future__ import annotations

from typing import NamedTuple

from bridge.errors import Unreadable, clip
from bridge.vendors.cirrus.rows import ResultRow

__all__ = ["HANDED_IN", "AttemptState", "attempt_state", "folded"]

#: `Status`, folded -> whether the candidate passed. The other two words mean that there is nothing to pass.
_VERDICTS = {"satisfactory": True, "notsatisfactory": False}
_VOIDED, _NOT_SUBMITTED = "voided", "notsubmitted"


class AttemptState(NamedTuple):
    """What the vendor's words mean."""

    #: One of `STATUSES`.
    status: str
    #: One of `GRADINGS`.
    grading: str
    #: The vendor's verdict; None if there is none.
    passed: bool | None

    @property
    def scored(self) -> bool:
        """Whether there is a score to publish."""
        return self.grading in ("final", "provisional")


#: Handed in, without a visible result: somebody has yet to mark or publish it.
HANDED_IN = AttemptState("completed", "pending", None)


def attempt_state(row: ResultRow) -> AttemptState:
    """The table in `QUIRKS.md`, "State of an attempt", row by row. Raises `Unreadable`."""
    word, present = folded(row["status"]), row["presence"]
    if word not in (None, _VOIDED, _NOT_SUBMITTED, *_VERDICTS):
        known = "Satisfactory, NotSatisfactory, Voided, NotSubmitted"
        raise Unreadable(f'row.Status is "{clip(row["status"], 40)}". Known: {known}')
    if word == _VOIDED:
        return AttemptState("voided", "not_scored", None)
    if present is False and word == "satisfactory":
        raise Unreadable("row.Presence is false, but row.Status is Satisfactory", reason="contradiction")
    if present is False or word == _NOT_SUBMITTED:
        return AttemptState("in_progress" if present else "not_started", "not_scored", None)
    if row["published"] is None:
        return HANDED_IN
    if word is None:
        return AttemptState("completed", "provisional", None)
    # A word that is newer than this table does not mean FINAL either.
    final = folded(row["publish_status"]) == "final"
    return AttemptState("completed", "final" if final else "provisional", _VERDICTS[word])


def folded(word: str | None) -> str | None:
    """A word in lower case, letters and digits only: the vendor's pages spell the same word in several ways."""
    return "".join(letter for letter in word if letter.isalnum()).lower() if word else None
