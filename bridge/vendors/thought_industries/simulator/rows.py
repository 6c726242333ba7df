"""What the simulated Thought Industries stores per attempt, and how it prints that as a row of the list.

Written only from the vendor's pages: nothing is shared with the adapter, so that both cannot be wrong in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any
from uuid import UUID

__all__ = ["COURSES", "TESTS", "Attempt", "Test", "invented_uuid", "row"]

#: Members of the objects inside a row that no test reads, by kind of value; `INVENTED` marks what must not be kept.
_COURSE_TEXT = "slug appearanceHash recurrenceRule sku webinarId courseGroupTitle availabilityStatus webinarTimeZone"
_COURSE_FLAGS = (
    "sessionIsTitled seatsLimitMet waitlistingEnabled taxable purchasable syllabusTitlesEnabled galleryEnabled "
    "workbookEnabled superquizEnabled discussionsEnabled instructorAccessEnabled showProgress roster isChild isActive "
    "hasMultipleCurrencies enrollmentActive waitlistActive embeddedEnabled displayResults hasChildren"
)
_COURSE_DATES = "createdAt updatedAt courseStartDate courseEndDate enrollmentStartDate publishDate currentUserDueDate"
_USER_TEXT = (
    "asset bio invitedByName address1 address2 city state zipCode country telephone shippingName preferredCurrency "
    "roleKey ref1 ref2 ref3 ref4 ref5 ref6 ref7 ref8 ref9 ref10 lang"
)
_USER_IDS = "stripeCustomerId externalCustomerId sfAccountId sfContactId clientId learnerUserId managerUserId"
_USER_LISTS = "purchasedCourses purchasedBundles allocatedLicenses attendedMeetings adminClients recommendedTags"
_USER_NUMBERS = "balance certificatesCount availableCoursesCount startedCoursesCount completedCoursesCount"
_QUESTION_TEXT = "additionalContent openEndedResponse fileSubmissionAsset preText postText preText2 placeholder"
_QUESTION_FLAGS = (
    "mustSelectAllCorrectChoices required hasChoices isOpenEndedOrEssay isBooleanChoice isMultipleChoice isTable "
    "isLikert isOpenEnded isFileSubmission isEssay isSelectBoxes shouldDisplayOnResults shouldCheckAnswers"
)
_FIRST = ("Ines", "Tiago", "Zoë", "Omar", "Uma", "Łucja", "Noor", "Sam", "Aïcha", "Jürgen")
_LAST = ("Moura", "Nunes", "van Dijk", "Diaz", "Rao", "Żak", "Haddad", "Reyes", "O'Neill", "Groß")


def invented_uuid(rng: Random) -> str:
    """A uuid of version 4 from the simulator's own randomness."""
    return str(UUID(int=rng.getrandbits(128), version=4))


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """A topic of the simulated account. `pass_mark` 0: none; `by_hand`: a person grades it."""

    name: str
    kind: str
    pass_mark: int = 0
    by_hand: bool = False

    __test__ = False  # pytest would take the name for a class of tests


TESTS = (
    Test(name="Module 1", kind="quiz", pass_mark=80),
    Test(name="Final test", kind="test", pass_mark=65, by_hand=True),
    Test(name="Find the hazards", kind="highlightZoneQuiz"),
    Test(name="What did you think?", kind="survey"),
)
COURSES = (
    ("5c5c5c5c-4444-4e55-8e6b-000000000001", "Warehouse safety"),
    ("5c5c5c5c-4444-4e55-8e6b-000000000002", "Forklift basics"),
)


@dataclass(slots=True, kw_only=True)
class Attempt:
    """One attempt. Times are UNIX seconds; `hidden`: not listed, like a side attempt that was merged into another one.
    `odd_time`: listed in place of creation and change."""

    id: str
    person: int
    course: int
    test: Test
    created: float
    updated: float
    status: str = "started"
    grade: int = 0
    original_grade: int = 0
    submission: str | None = None
    forgiven: bool = False
    hidden: bool = False
    odd_time: str = ""

    @property
    def user_id(self) -> str:
        """Of the person, whatever the attempt."""
        return str(UUID(int=0x3D3D3D3D_5555_4E55_8E6B_000000000000 + self.person))

    @property
    def course_id(self) -> str:
        """Of the course."""
        return COURSES[self.course][0]

    @property
    def passed(self) -> bool:
        """Never null, also on unfinished attempts; true without a pass mark."""
        return self.status == "finished" and self.grade >= self.test.pass_mark


def row(attempt: Attempt, *, full: bool, sparse: bool, as_text: bool) -> dict[str, Any]:
    """A row of the list. `full`: with all of course, user, topic and questions; `sparse`: null wherever null is
    allowed; `as_text`: numbers and booleans as text, as older integrations print them."""
    test, course_title = attempt.test, COURSES[attempt.course][1]
    topic_id = str(UUID(int=0x6E6E6E6E_6666_4E55_8E6B_000000000000 + TESTS.index(test)))
    first, last = _FIRST[attempt.person % 10], _LAST[attempt.person // 10 % 10]
    assessment_id = str(UUID(int=0x1B0A6F0E_2222_4E55_8E6B_000000000000 + TESTS.index(test)))
    row: dict[str, Any] = {
        "id": attempt.id,
        "assessment": {"id": assessment_id, "type": test.kind, "title": test.name}
        | {"minPassingPercent": _plain(test.pass_mark or None, as_text)},
        "answers": None if sparse else [_answer()],
        "courseId": attempt.course_id,
        "user": {"id": attempt.user_id, "email": f"person{attempt.person}@example.test"},
        "createdAt": attempt.odd_time or _time(attempt.created),
        "updatedAt": attempt.odd_time or _time(attempt.updated),
        "timeElapsedInSeconds": None if sparse else _plain(int(attempt.updated - attempt.created), as_text),
        "status": attempt.status,
        "grade": _plain(attempt.grade, as_text),
        "originalGrade": None if sparse else _plain(attempt.original_grade, as_text),
        "passed": _plain(attempt.passed, as_text),
        "assignmentSubmissionId": attempt.submission,
        "topicType": test.kind,
        "forgiven": _plain(attempt.forgiven, as_text),
        "topicId": None if sparse else topic_id,
    }
    if full:
        row["course"] = _course(attempt.course_id, course_title)
        row["user"] |= {"firstName": first, "lastName": last, "name": f"{first} {last}"} | _user()
        row["questions"] = [_question(number) for number in range(10)]
        row["topic"] = {"id": topic_id, "title": test.name, "type": test.kind, "passMessage": "INVENTED passMessage"}
    elif sparse:
        row |= dict.fromkeys(("course", "topic", "questions"))
    return row


def _course(course_id: str, title: str) -> dict[str, Any]:
    day = "2026-02-01T08:00:00.000Z"
    row: dict[str, Any] = {"id": course_id, "title": title, "status": "published", "kind": "microCourse"}
    row |= (
        _texts(_COURSE_TEXT) | dict.fromkeys(_COURSE_FLAGS.split(), False) | dict.fromkeys(_COURSE_DATES.split(), day)
    )
    return row | {"instructorEmails": ["INVENTED-tutor@example.test"], "customFields": {"INVENTED": "INVENTED"}}


def _user() -> dict[str, Any]:
    row: dict[str, Any] = _texts(_USER_TEXT) | _texts(_USER_IDS)
    row |= {name: [{"id": "INVENTED"}] for name in _USER_LISTS.split()} | dict.fromkeys(_USER_NUMBERS.split(), 7)
    return row | {"disabled": False, "customFields": {"INVENTED": "INVENTED"}, "client": {"name": "INVENTED"}}


def _question(number: int) -> dict[str, Any]:
    row: dict[str, Any] = _texts(_QUESTION_TEXT) | dict.fromkeys(_QUESTION_FLAGS.split(), False)
    return row | {"questionId": f"q-{number}", "body": "INVENTED?", "response": "INVENTED", "gradedAsCorrect": True}


def _answer() -> dict[str, Any]:
    answer_id = "9a9a9a9a-3333-4e55-8e6b-222222222222"
    return {"id": answer_id, "question": "INVENTED?", "answer": "INVENTED", "correct": True, "hasDefaultGrade": True}


def _texts(names: str) -> dict[str, str]:
    return {name: f"INVENTED {name}" for name in names.split()}


def _time(moment: float) -> str:
    whole = datetime.fromtimestamp(round(moment * 1000) / 1000, UTC)
    return whole.strftime("%Y-%m-%dT%H:%M:%S.") + f"{whole.microsecond // 1000:03}Z"


def _plain(value: Any, as_text: bool) -> Any:
    if value is None or not as_text:
        return value
    return "" if value is False else str(value).lower()
