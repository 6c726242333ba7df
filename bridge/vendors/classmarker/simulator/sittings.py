"""What the simulated ClassMarker stores per sitting, and how it prints that in webhooks and in poll rows.

Written only from the vendor's pages: nothing is shared with the adapter, so that both cannot be wrong in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

__all__ = [
    "CATALOGUE",
    "PLACES",
    "SHAPES",
    "Sitting",
    "Test",
    "poll_row",
    "random_fields",
    "verify_body",
    "webhook_body",
]

#: How webhooks print values: as documented; 2016 (strings, "" for false); 2023 (numbers, the pass mark a string).
SHAPES = ("documented", "2016", "2023")


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """A test of the simulated account. `pass_mark` 0: none; `points` 0: a survey; `essay`: may need grading."""

    id: int
    name: str
    points: int
    pass_mark: int = 0
    essay: bool = False

    __test__ = False  # pytest would take the name for a class of tests


#: Every test is given in groups and behind links, so that a test id alone does not identify a channel.
CATALOGUE = (
    Test(id=90011, name="Forklift basics", points=6, pass_mark=70),
    Test(id=90012, name="Product quiz", points=2),
    Test(id=90013, name="Fire warden refresher", points=30, pass_mark=65, essay=True),
    Test(id=90014, name="Canteen survey", points=0),
)
#: Channel -> (id, name) of the places where tests are given.
PLACES = {
    "group": ((50721, "Warehouse B"), (50722, "Line 4")),
    "link": ((61001, "Partners"), (61002, "Site B")),
}
_FIRST = ("Ines", "Tiago", "Zoë", "Omar", "Uma", "Łucja", "Noor", "Sam", "Aïcha", "Jürgen")
_LAST = ("Moura", "Nunes", "van Dijk", "Diaz", "Rao", "Żak", "Haddad", "Reyes", "O'Neill", "Groß")
_PEOPLE = 400


@dataclass(slots=True, kw_only=True)
class Sitting:
    """One sitting. `user_id` is set in groups, `link_result_id` behind links; times are whole UNIX seconds."""

    channel: str
    place_id: int
    test_id: int
    time_started: int
    time_finished: int
    user_id: int = 0
    link_result_id: int = 0
    first: str = ""
    last: str = ""
    email: str = ""
    points_scored: float = 0.0
    points_available: float = 0.0
    pass_mark: int = 0
    requires_grading: bool = False
    cm_user_id: str = ""
    access_code: str = ""
    extra_info: tuple[str, ...] = ("", "", "", "", "")
    feedback: str = ""
    status: str = "f"
    duration: int | None = None
    #: Not listed, as a result that the API shows late.
    hidden: bool = False
    #: Listed in place of the finish.
    odd_time: str = ""

    @property
    def attempt_id(self) -> str:
        """The attempt in the words of the published events."""
        if self.channel == "link":
            return f"link:{self.link_result_id}"
        return f"group:{self.user_id}:{self.test_id}:{self.place_id}:{self.time_started}"

    @property
    def percentage(self) -> float:
        """0-100, rounded to one decimal."""
        return round(100 * self.points_scored / self.points_available, 1) if self.points_available else 0.0

    @property
    def passed(self) -> bool:
        """True without a pass mark, as the vendor documents it."""
        return self.percentage >= self.pass_mark


def random_fields(rng: Random, channel: str, finished: int) -> dict[str, Any]:
    """The fields of an invented sitting that finished at `finished`; identity of a link result is the caller's."""
    test = rng.choice(CATALOGUE)
    place_id, _ = rng.choice(PLACES[channel])
    person = rng.randrange(_PEOPLE)
    first, last = _FIRST[person % len(_FIRST)], _LAST[person // len(_FIRST) % len(_LAST)]
    fields: dict[str, Any] = {
        "channel": channel,
        "place_id": place_id,
        "test_id": test.id,
        "time_started": finished - rng.randrange(90, 5400),
        "time_finished": finished,
        "first": first,
        "last": last,
        "email": f"person{person}@example.test",
        "points_scored": rng.randint(0, 2 * test.points) / 2,
        "points_available": float(test.points),
        "pass_mark": test.pass_mark,
        "requires_grading": test.essay and rng.random() < 0.5,
        "feedback": rng.choice(("", "Merci, déjà fini.<br />\r\nThank\u00a0you &amp; goodbye")),
    }
    if channel == "group":
        return fields | {"user_id": 4_410_000 + person}
    return fields | {
        "cm_user_id": rng.choice(("", f"ext-{person}", f"idp|{person:05}")),
        "access_code": rng.choice(("", f"CODE-{person}")),
        "extra_info": (rng.choice(("", "Night shift")), "", "", "", ""),
    }


def webhook_body(sitting: Sitting, *, shape: str, questions: bool) -> dict[str, Any]:
    """The whole webhook of one result in one of the `SHAPES`."""
    names = _names(sitting)
    place = sitting.channel
    body: dict[str, Any] = {
        "payload_type": f"single_user_test_results_{place}",
        "payload_status": "live",
        "test": {"test_id": _id(sitting.test_id, shape), "test_name": names[0]},
        place: {f"{place}_id": _id(sitting.place_id, shape), f"{place}_name": names[1]},
        "result": _webhook_result(sitting, shape),
    }
    if place == "link":
        body["link"]["link_url_id"] = f"abc{sitting.place_id}"
    if questions:
        body["questions"] = _questions(sitting)
        body["category_results"] = [
            {
                "category_id": 3,
                "name": "Safety",
                "percentage": sitting.percentage,
                "points_available": sitting.points_available,
                "points_scored": sitting.points_scored,
            }
        ]
    return body


def verify_body() -> dict[str, Any]:
    """The canned sample sent when a webhook is saved: always these ids."""
    sample = Sitting(
        channel="link",
        place_id=101,
        test_id=100,
        link_result_id=8_127_364,
        time_started=1_436_263_522,
        time_finished=1_436_264_122,
        first="A",
        last="B",
        email="ab@example.org",
        points_scored=8,
        points_available=10,
        pass_mark=70,
    )
    body = webhook_body(sample, shape="documented", questions=False)
    return body | {
        "payload_status": "verify",
        "test": {"test_id": 100, "test_name": "Sample"},
        "link": {"link_id": 101, "link_name": "Sample", "link_url_id": "sample"},
    }


def poll_row(sitting: Sitting, *, newer_fields: bool) -> dict[str, Any]:
    """One row of a poll page; numbers are numbers here in every year."""
    row: dict[str, Any] = {}
    if sitting.channel == "group":
        row["user_id"] = sitting.user_id
    row |= {"first": sitting.first, "last": sitting.last, "email": sitting.email, "test_id": sitting.test_id}
    row |= {
        f"{sitting.channel}_id": sitting.place_id,
        "percentage": _short(sitting.percentage),
        "points_scored": _short(sitting.points_scored),
        "points_available": _short(sitting.points_available),
        "time_started": sitting.time_started,
        "time_finished": sitting.odd_time or sitting.time_finished,
        "status": sitting.status,
    }
    if sitting.channel == "link":
        row |= {"access_code": sitting.access_code}
        row |= {f"extra_info{number or ''}": answer for number, answer in _numbered(sitting.extra_info)}
    row |= {"duration": _duration(sitting)} | {
        "percentage_passmark": sitting.pass_mark,
        "passed": sitting.passed,
        "requires_grading": "Yes" if sitting.requires_grading else "No",
    }
    if sitting.channel == "link":
        row |= {
            "link_result_id": sitting.link_result_id,
            "cm_user_id": sitting.cm_user_id,
            "ip_address": "2001:db8::7",
        }
    if newer_fields:
        row["test_type"] = "Test" if sitting.points_available else "Survey"
    return row | _certificate(sitting)


def _webhook_result(sitting: Sitting, shape: str) -> dict[str, Any]:
    text = shape == "2016"
    result: dict[str, Any] = (
        {"user_id": str(sitting.user_id)}  # a string in every year
        if sitting.channel == "group"
        else {"link_result_id": _id(sitting.link_result_id, shape)}
    )
    result |= {
        "first": sitting.first,
        "last": sitting.last,
        "email": sitting.email,
        "percentage": sitting.percentage,
        "points_scored": str(sitting.points_scored) if text else sitting.points_scored,
        "points_available": str(sitting.points_available) if text else sitting.points_available,
        "requires_grading": "Yes" if sitting.requires_grading else "No",
        "time_started": _id(sitting.time_started, shape),
        "time_finished": _id(sitting.time_finished, shape),
        "duration": _duration(sitting),
        "percentage_passmark": sitting.pass_mark if shape == "documented" else str(sitting.pass_mark),
        "passed": _flag(sitting.passed, shape),
        "feedback": sitting.feedback,
    } | {name: _flag(value, shape) for name, value in _certificate(sitting).items()}
    if sitting.channel == "link":
        result |= {"access_code_question": "", "access_code_used": sitting.access_code}
        for number, answer in _numbered(sitting.extra_info):
            result |= {f"extra_info{number or ''}_question": "", f"extra_info{number or ''}_answer": answer}
        result |= {"cm_user_id": sitting.cm_user_id, "ip_address": "2001:db8::7"}
    return result


def _certificate(sitting: Sitting) -> dict[str, Any]:
    earned = bool(sitting.pass_mark) and sitting.passed and not sitting.requires_grading
    mark = sitting.attempt_id.replace(":", "-")
    return {
        "give_certificate_only_when_passed": bool(sitting.pass_mark),
        "certificate_url": f"https://vendor.example/pdf/certificate/?c={mark}" if earned else "",
        "certificate_serial": f"INVENTED-{mark}" if earned else "",
        "view_results_url": f"https://vendor.example/view/results/?r={mark}",
    }


def _questions(sitting: Sitting) -> list[dict[str, Any]]:
    essay = "requires_grading" if sitting.requires_grading else "correct"
    common = {"category_id": 3, "points_available": sitting.points_available, "feedback": ""}
    return [
        {"question_id": 7002, "question_type": "essay", "question": "Explain.", "result": essay}
        | common
        | {"points_scored": sitting.points_scored, "user_response": "Because …", "custom_feedback": ""}
    ]


def _names(sitting: Sitting) -> tuple[str, str]:
    tests = {test.id: test.name for test in CATALOGUE}
    places = dict(PLACES[sitting.channel])
    return tests.get(sitting.test_id, "Unlisted test"), places.get(sitting.place_id, "Unlisted place")


def _numbered(answers: tuple[str, ...]) -> list[tuple[int, str]]:
    """The first answer's field has no number, the second has 2."""
    return [(0 if index == 1 else index, answer) for index, answer in enumerate(answers, start=1)]


def _duration(sitting: Sitting) -> str:
    seconds = sitting.time_finished - sitting.time_started if sitting.duration is None else sitting.duration
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _id(number: int, shape: str) -> int | str:
    return str(number) if shape == "2016" else number


def _flag(value: Any, shape: str) -> Any:
    return "" if value is False and shape == "2016" else value


def _short(number: float) -> float | int:
    return int(number) if number == int(number) else number
