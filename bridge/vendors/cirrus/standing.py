"""How an attempt stands: the vendor's words for a result to our status, grading and pass. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from bridge.errors import Unreadable, clip

__all__ = ["HANDED_IN", "Standing", "letters", "standing_of"]

#: `Status`, letters only -> the candidate passed. The other two words say that there is nothing to pass.
_VERDICTS = {"satisfactory": True, "notsatisfactory": False}
_VOIDED, _NOT_SUBMITTED = "voided", "notsubmitted"


class Standing(NamedTuple):
    """Our `status` and `grading`, and the vendor's word about passing."""

    status: str
    grading: str
    passed: bool | None

    @property
    def scored(self) -> bool:
        """Whether there are figures to publish."""
        return self.grading in ("final", "provisional")


#: Handed in, and no result to be seen: somebody has still to mark or to publish it.
HANDED_IN = Standing("completed", "pending", None)


def standing_of(row: Mapping[str, Any]) -> Standing:
    """The table of `QUIRKS.md`, "How an attempt stands", row by row. Raises `Unreadable`."""
    word, present = letters(row["status"]), row["presence"]
    if word not in (None, _VOIDED, _NOT_SUBMITTED, *_VERDICTS):
        known = "Satisfactory, NotSatisfactory, Voided, NotSubmitted"
        raise Unreadable(f'row.Status is "{clip(row["status"], 40)}"; known are {known}')
    if word == _VOIDED:
        return Standing("voided", "not_scored", None)
    if present is False and word == "satisfactory":
        raise Unreadable("row.Presence is false, but row.Status is Satisfactory", reason="contradiction")
    if present is False or word == _NOT_SUBMITTED:
        return Standing("in_progress" if present else "not_started", "not_scored", None)
    if row["published"] is None:
        return HANDED_IN
    if word is None:
        return Standing("completed", "provisional", None)
    # A word that is newer than this table is not FINAL either.
    final = letters(row["publish_status"]) == "final"
    return Standing("completed", "final" if final else "provisional", _VERDICTS[word])


def letters(word: str | None) -> str | None:
    """A word in small letters, without blanks and joining marks: the vendor's pages write one word in several ways."""
    return "".join(letter for letter in word if letter.isalnum()).lower() if word else None
