"""Mettl's API client: signatures as sent, paging that nothing slips through, errors, and no person in any message."""

from __future__ import annotations

import json
from urllib.parse import parse_qsl, urlsplit

import pytest

from bridge.errors import Unreadable, VendorFault, VendorRefused, VendorThrottled, VendorUnavailable
from bridge.sdk.vendor import Record
from bridge.vendors.mettl import VENDOR, listing
from bridge.vendors.mettl.adapter import CANDIDATE
from bridge.vendors.mettl.signature import sign
from bridge.vendors.mettl.simulator import Behaviour, Simulator, Style
from bridge.vendors.mettl.simulator.sittings import SCHEDULES
from tests.support.contract.wire import BASE_URL, Facts, calls_over, wsgi

NOW = 1_795_000_000
DAY = 86_400
OPTIONS = {name: option.default for name, option in VENDOR.options.items()}
FIRST, SECOND, ESSAY = (schedule.access_key for schedule in SCHEDULES)
EMAIL = "zoë+o'neill@example.test"

#: The vendor's two printed examples: placeholder keys, parameters, `asgn` in base64, query as printed.
AK, PRIVATE = "ab12c345-6789-0123-456d-78e9f0123456", "zy98x765-4321-0987-654w-32v1u0987654"
EXAMPLE_URL = "https://api.mettl.com/v2/schedules/0x0x0x0x0x/candidates"
SHORT = (("ak", AK), ("ts", "1635976200"))
LONG = (
    ("ak", AK),
    ("ts", "1635976200"),
    ("ir", '{"recommendation":true}'),
    ("qr", "true"),
    ("limit", "10"),
    ("offset", "20"),
    ("sort", "name"),
    ("sort_order", "asc"),
)
EXAMPLES = [
    (
        SHORT,
        "vtf9LV80jVBq6bzBGnhQbku+qfM+iCC5i2Lbxk/ArUM=",
        f"ak={AK}&ts=1635976200&asgn=vtf9LV80jVBq6bzBGnhQbku%2BqfM%2BiCC5i2Lbxk%2FArUM%3D",
    ),
    (
        LONG,
        "BCPevoXzusbBGiWsfONNvmXaxHKMMWJPm1jVrL3TELc=",
        f"ak={AK}&ts=1635976200&ir=%7B%22recommendation%22%3Atrue%7D&qr=true&limit=10&offset=20&sort=name"
        "&sort_order=asc&asgn=BCPevoXzusbBGiWsfONNvmXaxHKMMWJPm1jVrL3TELc%3D",
    ),
]


class World:
    """A client connected through the real HTTP client to answers that are taken first, then to the simulated vendor."""

    def __init__(self, *answers, behaviour=Behaviour(), base_url=BASE_URL, simulator=(), **options):  # noqa: B008 - frozen
        self.clock = float(NOW)
        self.answers = list(answers)
        self.paths: list[str] = []
        self.before_call = lambda: None
        settings = {"quota_calls": 10_000, **dict(simulator)}
        self.simulator = Simulator(3, lambda: self.clock, base_url=base_url, behaviour=behaviour, **settings)
        credentials = {name: (value,) for name, value in self.simulator.credentials.items()}
        self.options = OPTIONS | options
        facts = Facts(name="eu-mettl", credentials=credentials, options=self.options, base_url=base_url)
        vendor = wsgi(self.simulator.wsgi)

        def wire(method, path, headers, body):
            self.paths.append(path)
            self.before_call()
            if not self.answers:
                return vendor(method, path, headers, body)
            status, answer = self.answers.pop(0)
            return status, {}, answer if isinstance(answer, bytes) else json.dumps(answer).encode()

        self.client = VENDOR.connect(facts, calls_over(wire, facts, lambda: self.clock))

    def params(self, call=-1):
        return dict(parse_qsl(urlsplit(self.paths[call]).query))

    def round(self, cursor):
        """One whole round: records, and the cursor after it."""
        results = []
        for _ in range(200):
            page = self.client.page(cursor)
            results += page.records
            cursor = page.cursor
            if not page.more:
                return results, cursor
        raise AssertionError("the round does not end")

    def ids(self, records):
        return {VENDOR.normalise(record, self.clock, self.options).attempt_id for record in records}


def error(code, status=200):
    return status, {"status": "ERROR", "error": {"code": code, "message": f"about {EMAIL}"}}


def listed(*rows, more=False):
    following = "https://elsewhere.example/next" if more else None
    return 200, {"status": "SUCCESS", "candidates": list(rows), "paging": {"previous": None, "next": following}}


# Signatures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("params", "asgn", "_query"), EXAMPLES)
def test_the_vendors_worked_examples_are_reproduced(params, asgn, _query):
    assert sign("GET", EXAMPLE_URL, params, private_key=PRIVATE, version="v2") == asgn
    assert sign("get", EXAMPLE_URL, reversed(params), private_key=PRIVATE, version="v3") == asgn
    assert sign("GET", EXAMPLE_URL, params, private_key=PRIVATE, version="v1") != asgn


@pytest.mark.parametrize(("params", "asgn", "query"), EXAMPLES)
def test_the_http_client_sends_exactly_what_was_signed(params, asgn, query):
    sent = []

    def wire(_method, path, _headers, _body):
        sent.append(path)
        return 200, {}, b"{}"

    facts = Facts(name="example", credentials={}, options={}, base_url="https://api.mettl.com")
    calls_over(wire, facts, lambda: NOW).request("GET", EXAMPLE_URL, params=(*params, ("asgn", asgn)))

    assert sent == [f"/v2/schedules/0x0x0x0x0x/candidates?{query}"]


def test_the_client_itself_makes_the_first_example():
    keys = {"public_key": AK, "private_key": PRIVATE}
    world = World((200, {"status": "SUCCESS", "schedule": {}}), base_url="https://api.mettl.com", simulator=keys)
    world.clock = 1635976200.9
    world.client.api._call("schedules/0x0x0x0x0x/candidates")

    assert world.paths == [f"/v2/schedules/0x0x0x0x0x/candidates?{EXAMPLES[0][2]}"]


@pytest.mark.parametrize("base_url", ["https://api.mettl.com", "https://api.mercermettl.eu", f"{BASE_URL}/"])
@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
def test_every_version_and_host_accepts_our_signature(base_url, version):
    world = World(base_url=base_url.rstrip("/"), api_version=version, recommendation=True, essays=True)
    world.simulator.finish(email=EMAIL)

    assert world.client.probe() == "logged in; 3 schedules"
    assert world.client.api.assessments()["assessments"]
    assert world.client.api.schedules_of("310044", criteria={"name": "Data Handling"})["schedules"]
    assert world.client.api.candidate(FIRST, EMAIL)["candidates"]
    assert world.client.api.sittings_of(EMAIL)["candidates"]
    assert all(path.startswith(f"/{version}/") for path in world.paths)


def test_a_signature_for_one_host_is_refused_by_the_other():
    world = World(base_url="https://api.mettl.com")
    world.simulator.base_url = "https://api.mercermettl.eu"

    with pytest.raises(VendorRefused, match=r"E401\. Check base_url"):
        world.client.probe()
    assert len(world.paths) == 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"limit": "100", "offset": "0", "sort": "testStartTime", "sort_order": "desc"}),
        ({"recommendation": True}, {"ir": '{"recommendation":true}'}),
        ({"essays": True}, {"qr": "true"}),
    ],
)
def test_every_documented_parameter_of_the_list_is_sent(options, expected):
    world = World(**options)
    world.client.api.candidates(FIRST)
    assert expected.items() <= world.params().items()
    assert world.params().keys() >= {"ak", "ts", "asgn"}

    world.client.api.candidates(FIRST, offset=0, limit=7, sort="name", order="asc")
    assert {"limit": "7", "sort": "name", "sort_order": "asc"}.items() <= world.params().items()


def test_schedules_and_tests_are_listed_page_by_page_with_our_own_offset():
    pages = [
        (200, {"status": "SUCCESS", "schedules": [{"accessKey": f"key{n}"}, {}], "paging": {"next": "x"}})
        for n in range(2)
    ]
    world = World(pages[0], listed(), pages[1], listed(), (200, {"status": "SUCCESS", "schedules": []}))

    assert world.round("0") == ([], "0")
    assert [urlsplit(path).path.removeprefix("/v2/schedules") for path in world.paths] == [
        "",
        "/key0/candidates",
        "",
        "/key1/candidates",
        "",
    ]
    assert [world.params(call)["offset"] for call in range(5)] == ["0", "0", "2", "0", "4"]


# Reading the list --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unstarted_first", [False, True])
def test_a_quiet_round_costs_one_call_a_schedule_and_one_for_the_schedules(unstarted_first):
    world = World(behaviour=Behaviour(unstarted_first=unstarted_first))
    for number in range(260):
        world.simulator.finish(at=NOW - 20 * DAY - 60 * number)
    for _ in range(10):
        world.simulator.invite()
    _, cursor = world.round(listing.start(NOW - 30 * DAY))
    world.paths.clear()
    world.client = VENDOR.connect(  # as in the next turn
        Facts(name="n", credentials={k: (v,) for k, v in world.simulator.credentials.items()}, options=OPTIONS),
        world.client.api._calls,
    )

    records, after = world.round(listing.rewind(cursor, 600))

    assert after == cursor
    assert len([record for record in records if record.body["testStatus"].get("startTime")]) >= 10
    paths = [urlsplit(path).path for path in world.paths]
    assert [path for path in paths if path.endswith("candidates")] == [
        f"/v2/schedules/{schedule.access_key}/candidates" for schedule in sorted(SCHEDULES, key=lambda s: s.access_key)
    ]
    # The names of schedules come with the list of schedules, those of tests are remembered.
    assert len(paths) == 4


def test_a_late_finish_of_an_early_starter_is_found_by_the_watch_and_by_the_second_stream():
    world = World()
    attempt_id = world.simulator.invite()
    world.simulator.start(attempt_id, NOW - 3 * 3600)
    for number in range(150):
        world.simulator.finish(at=NOW - 60 * number)
    records, cursor = world.round(listing.start(NOW - DAY))
    [watch] = [
        attempt.watch
        for attempt in (VENDOR.normalise(record, NOW, OPTIONS) for record in records)
        if attempt.attempt_id == attempt_id
    ]

    world.clock += 3600
    world.simulator.submit(attempt_id, marks=10)
    world.simulator.grade(attempt_id)
    again, _ = world.round(listing.rewind(cursor, 600))
    assert attempt_id not in world.ids(again), "too deep in the list, as expected"

    calls = len(world.paths)
    [result] = VENDOR.recheck(world.client, watch.reference)
    assert VENDOR.normalise(result, NOW, OPTIONS).result.grading == "final"
    assert len(world.paths) == calls + 1, "the watch knows the names already"
    sweep = VENDOR.polls["again"]
    assert (sweep.sweep(OPTIONS), sweep.every) == (30 * DAY, DAY)
    swept, _ = world.round(sweep.start(world.clock - sweep.sweep(OPTIONS), None))
    assert attempt_id in world.ids(swept)


@pytest.mark.parametrize("unstarted_first", [False, True])
@pytest.mark.parametrize("page_size", [3, 100])
def test_nothing_is_lost_while_people_are_invited_start_and_finish_between_pages(unstarted_first, page_size):
    world = World(schedules=[FIRST], behaviour=Behaviour(page_size=page_size, unstarted_first=unstarted_first))
    before = {world.simulator.finish(at=NOW - 60 * number) for number in range(40)}
    invited = [world.simulator.invite() for _ in range(25)]
    begun = set()

    def life():
        world.clock += 1
        if invited:
            attempt_id = invited.pop(len(invited) // 2)
            world.simulator.start(attempt_id)
            begun.add(attempt_id)
            if len(invited) % 2:
                world.simulator.finish()

    world.before_call = life
    first, cursor = world.round(listing.start(NOW - DAY))
    world.before_call = lambda: None
    second, _ = world.round(listing.rewind(cursor, 60))

    assert before <= world.ids(first)
    assert begun <= world.ids([*first, *second])
    assert set(world.simulator.expected()) <= world.ids([*first, *second])


@pytest.mark.parametrize("deleted", [1, 4, 5])
def test_a_few_results_deleted_between_pages_pull_no_other_past_the_border(deleted):
    world = World(schedules=[FIRST])
    ids = [world.simulator.finish(at=NOW - 60 * number) for number in range(150)]
    page = world.client.page(listing.start(NOW - DAY))
    for attempt_id in ids[:deleted]:
        world.simulator.delete(attempt_id)
    rest, _ = world.round(page.cursor)

    assert world.ids([*page.records, *rest]) == set(ids)


def test_schedules_restrict_what_is_polled_and_a_webhook_about_another_one_is_followed():
    world = World(schedules=[FIRST])
    attempt_id = world.simulator.finish(at=NOW - 60, schedule=1)
    read, _ = world.round(listing.start(NOW - DAY))
    [pointer] = VENDOR.split(json.loads(world.simulator.webhook(attempt_id)[0]), world.options)

    assert read == []
    assert world.ids(VENDOR.recheck(world.client, pointer.reference)) == {attempt_id}


def test_a_list_in_no_order_is_read_to_its_end():
    old = {"email": "old@example.test", "testStatus": {"startTime": "Tue, 04 Mar 2025 09:00:12 GMT"}}
    new = {"email": "new@example.test", "testStatus": {"startTime": "Tue, 04 Mar 2025 11:00:12 GMT"}}
    late = {"email": "late@example.test", "testStatus": {"startTime": "Tue, 04 Mar 2025 12:00:12 GMT"}}
    odd = [{"email": "odd@example.test", "testStatus": {"startTime": "yesterday"}}, {"testStatus": None}, "text"]
    since = "1741080000"

    in_order = World(listed(new, old, more=True), schedules=[FIRST])
    in_order.client._names._seen[FIRST] = {"schedule": "known"}
    assert not in_order.client.page(since).more
    out_of_order = World(listed(old, new, old, more=True), schedules=[FIRST])
    out_of_order.client._names._seen[FIRST] = {"schedule": "known"}
    assert out_of_order.client.page(since).more
    unreadable = World(listed(late, *odd, more=True), schedules=[FIRST])
    unreadable.client._names._seen[FIRST] = {"schedule": "known"}
    page = unreadable.client.page(since)
    assert page.more
    assert len(page.records) == 3


def test_the_vendors_next_address_is_never_followed_and_a_page_that_repeats_is_left_unread():
    rows = [
        {"email": f"p{n}@example.test", "testStatus": {"startTime": "Tue, 04 Mar 2025 12:00:12 GMT"}} for n in range(4)
    ]
    world = World(schedules=[FIRST])
    world.client._names._seen[FIRST] = {"schedule": "known"}
    world.answers = [listed(*rows, more=True)] * 10

    _, cursor = world.round("1741080000")

    assert cursor.endswith(f"||{FIRST}=1741080000")
    *read, account = world.paths
    assert all(path.startswith(f"/v2/schedules/{FIRST}/candidates?") for path in read)
    assert [world.params(call)["offset"] for call in range(len(read))] == ["0", "3", "6", "9"]
    assert account.startswith("/v2/account?")


def test_a_full_last_page_without_a_next_address_is_not_believed():
    world = World(schedules=[FIRST])
    for number in range(100):
        world.simulator.finish(at=NOW - number)

    records, _ = world.round(listing.start(NOW - DAY))

    assert [world.params(call).get("offset") for call in range(len(world.paths))].count("95") == 1
    assert len(world.ids(records)) == 100


def test_a_round_that_was_cut_short_goes_on_where_it_stood_and_ends_before_it_began():
    world = World(behaviour=Behaviour(page_size=10))
    for place in range(3):
        for number in range(15):
            world.simulator.finish(schedule=place, at=NOW - 60 * number)
    page = world.client.page(listing.start(NOW - DAY))
    assert page.more

    world.clock += 7_200
    late = world.simulator.finish(schedule=2, started=NOW + 7_000)
    rest, cursor = world.round(page.cursor)

    assert late in world.ids(rest)
    assert listing.position(cursor) <= NOW, "whoever began in another schedule meanwhile must be read by the next round"


@pytest.mark.parametrize(("overlap", "back"), [(0, 60), (59.9, 60), (600, 600)])
def test_a_new_round_goes_back_at_least_a_minute(overlap, back):
    assert listing.rewind(str(NOW), overlap) == f"{NOW - back}|{NOW}"


def test_a_start_in_the_future_does_not_move_the_cursor():
    world = World(schedules=[FIRST])
    world.simulator.finish(at=NOW - 100, started=NOW - 700)
    world.simulator.finish(at=NOW + DAY, started=NOW + DAY - 60)

    _, cursor = world.round(listing.start(NOW - DAY))

    assert cursor == str(NOW - 700)


def test_a_schedule_that_is_gone_does_not_stop_the_others():
    world = World(schedules=["gone1", SECOND])
    attempt_id = world.simulator.finish(schedule=1)

    records, _ = world.round(listing.start(NOW - DAY))

    assert world.ids(records) == {attempt_id}
    with pytest.raises(VendorFault, match=r"E404.*options\.schedules"):
        world.client.probe()


def test_an_account_without_schedules_has_nothing_to_read():
    world = World((200, {"status": "SUCCESS", "schedules": None}))

    assert world.round("1700000000") == ([], "1700000000")


@pytest.mark.parametrize("cursor", ["soon", "1|x", "1|2|x", "1|2|3|key|five|x", "1|2|3|key|0|x|0|0|k=y"])
def test_a_cursor_of_somebody_else_is_a_fault(cursor):
    with pytest.raises(VendorFault, match="cursor"):
        World().client.page(cursor)


# One person --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("behaviour", [Behaviour(), Behaviour(alone=True, capitals=False, style=Style(text=True))])
def test_one_person_is_found_by_an_address_with_any_letters(behaviour):
    world = World(behaviour=behaviour)
    attempt_id = world.simulator.finish(email=EMAIL)

    [result] = VENDOR.recheck(world.client, {"access_key": FIRST, "email": EMAIL})

    attempt = VENDOR.normalise(result, NOW, OPTIONS)
    assert (attempt.attempt_id, attempt.candidate.email, attempt.sitting) == (attempt_id, EMAIL, None)
    assert (attempt.assessment.id, attempt.assessment.name, attempt.assessment.group.name) == (
        "310044",
        "Data Handling",
        "Data Handling - March",
    )
    assert len(world.paths) == 3
    assert urlsplit(world.paths[0]).path == f"/v2/schedules/{FIRST}/candidates/zo%C3%AB+o'neill@example.test"


@pytest.mark.parametrize("options", [{"schedules": (FIRST,)}, {}], ids=["configured", "listed"])
def test_an_access_key_with_other_letters_is_that_of_the_schedule(options):
    """Where the vendor takes no notice of case."""
    world = World(**options)
    attempt_id = world.simulator.finish(email=EMAIL)
    if not options:
        world.round(listing.start(NOW - DAY))
    world.answers = [(200, json.dumps(world.client.api.candidate(FIRST, EMAIL), default=float).encode())]
    known = {"assessment_id": "1", "assessment": "Data Handling"}

    [result] = VENDOR.recheck(world.client, {"access_key": FIRST.swapcase(), "email": EMAIL, **known})

    attempt = VENDOR.normalise(result, NOW, world.options)
    assert (attempt.attempt_id, attempt.assessment.group.id) == (attempt_id, FIRST)
    assert FIRST.swapcase() in world.paths[-1]


@pytest.mark.parametrize("email", ["a%41b#c@example.test", "x?y/z@example.test", "żółw&=;@example.test"])
def test_no_letter_of_an_address_leads_elsewhere(email):
    world = World()
    attempt_id = world.simulator.finish(email=email)

    [result] = VENDOR.recheck(world.client, {"access_key": FIRST, "email": email})

    assert VENDOR.normalise(result, NOW, OPTIONS).attempt_id == attempt_id


def test_somebody_elses_row_is_not_taken_for_the_one_that_was_asked_for():
    world = World(listed({"email": "another@example.test", "testStatus": {"status": "Completed"}}))

    assert VENDOR.recheck(world.client, {"access_key": FIRST, "email": EMAIL}) == []


@pytest.mark.parametrize("state", ["mapped", "invited", "access_expired", "blocked"])
def test_who_has_not_begun_is_looked_for_again(state):
    world = World()
    world.simulator.invite(email=EMAIL, state=state)

    assert VENDOR.recheck(world.client, {"access_key": FIRST, "email": EMAIL}) == []


@pytest.mark.parametrize("test", [None, {"status": 7}, {"status": "Reviewed"}])
def test_what_cannot_be_told_is_handed_on_to_be_reported(test):
    world = World(listed({"email": EMAIL, "testStatus": test}))
    known = {"assessment_id": "1", "assessment": "Data Handling"}

    [record] = VENDOR.recheck(world.client, {"access_key": FIRST, "email": EMAIL, **known})

    assert record == Record(CANDIDATE, {"email": EMAIL, "testStatus": test, "access_key": FIRST, **known})
    with pytest.raises(Unreadable):
        VENDOR.normalise(record, NOW, OPTIONS)


@pytest.mark.parametrize("reference", [{}, {"access_key": FIRST}, {"access_key": "../x", "email": EMAIL}])
def test_a_watch_that_names_no_attempt_is_refused_before_any_call(reference):
    world = World()

    with pytest.raises(Unreadable, match="watch"):
        VENDOR.recheck(world.client, reference)
    assert world.paths == []


def test_the_sitting_of_a_webhook_is_told_only_of_the_sitting_that_it_was_about():
    world = World()
    first = world.simulator.finish(email=EMAIL, at=NOW - 7_200)
    [old] = VENDOR.split(json.loads(world.simulator.webhook(first)[0]) | {"timestamp_GMT": None}, OPTIONS)
    body = json.loads(world.simulator.webhook(first)[0])
    world.clock += 60
    second = world.simulator.sit_again(first, at=NOW + 3_600)
    world.clock += 3_600
    pointers = [VENDOR.split(raw, OPTIONS)[0] for raw in (body, json.loads(world.simulator.webhook(second)[0]))]

    seen = []
    for pointer in (old, *pointers):
        [record] = VENDOR.recheck(world.client, pointer.reference)
        seen.append(VENDOR.normalise(record, NOW, OPTIONS).sitting)

    assert second == f"{first}:2"
    assert seen == [None, None, pointers[1].sitting]
    assert pointers[0].sitting != pointers[1].sitting


# Errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("E400", VendorFault),
        ("E401", VendorRefused),
        ("E403", VendorRefused),
        ("E404", VendorFault),
        ("E405", VendorFault),
        ("E408", VendorUnavailable),
        ("E503", VendorUnavailable),
        ("E509", VendorThrottled),
        ("E999", VendorUnavailable),
    ],
)
@pytest.mark.parametrize("status", [200, 400])
def test_an_error_code_says_what_to_do_next_whatever_the_status(code, kind, status):
    world = World(error(code, status))

    with pytest.raises(kind, match=code):
        world.client.api.account()
    assert len(world.paths) == 1


@pytest.mark.parametrize("code", ["E422", "E504"])
def test_a_signature_with_a_bad_time_is_made_again_once(code):
    world = World(error(code))
    world.client.api.account()
    assert len(world.paths) == 2

    world = World(error(code), error(code))
    with pytest.raises(VendorUnavailable, match="clock") as late:
        world.client.api.account()
    assert late.value.reason == "clock"
    assert len(world.paths) == 2


def test_a_clock_that_is_days_off_is_corrected_by_the_vendors_own():
    world = World(behaviour=Behaviour(clock_offset=3 * DAY))

    world.client.api.account()
    world.client.api.account()

    assert len(world.paths) == 3


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, b"<html>We are busy</html>", VendorUnavailable),
        (200, b"", VendorUnavailable),
        (200, b'{"status": "SUCCESS", "candidates": [', VendorUnavailable),
        (200, b"[]", VendorUnavailable),
        (200, b'{"candidates": []}', VendorUnavailable),
        (200, b'{"status": "ERROR"}', VendorUnavailable),
        (401, b"", VendorRefused),
        (403, b"<html>", VendorRefused),
        (404, b"", VendorFault),
        (418, b"", VendorFault),
        (429, b"", VendorThrottled),
        (502, b"Bad gateway", VendorUnavailable),
        (302, b"", VendorUnavailable),
    ],
)
def test_an_answer_that_is_none_is_never_an_empty_page(status, body, kind):
    with pytest.raises(kind):
        World((status, body)).client.api.account()


@pytest.mark.parametrize(
    "answer",
    [
        (502, b""),
        (429, b""),
        (302, b""),
        (418, EMAIL.encode()),
        (200, EMAIL.encode()),
        error("E401"),
        error("E400"),
        error("E404"),
        error("E509"),
        error("E999"),
    ],
)
def test_no_error_tells_a_person_a_key_or_a_query(answer):
    world = World(answer)

    with pytest.raises((VendorFault, VendorRefused, VendorThrottled, VendorUnavailable)) as raised:
        world.client.api.candidate(FIRST, EMAIL)

    text = f"{raised.value!r} {raised.value.__cause__!r} {raised.value.__suppress_context__}"
    for secret in ("neill", "example.test", "sandbox-", "?", "asgn"):
        assert secret not in text
    assert "eu-mettl" in text


def test_without_the_schedule_a_result_is_valid_and_its_key_stands_for_the_test():
    world = World()
    world.simulator.finish(email=EMAIL)
    [record] = VENDOR.recheck(world.client, {"access_key": FIRST, "email": EMAIL})
    bare = Record(CANDIDATE, {name: record.body[name] for name in ("email", "testStatus", "access_key")})

    attempt = VENDOR.normalise(bare, NOW, OPTIONS)

    assert (attempt.assessment.id, attempt.assessment.name) == (f"schedule:{FIRST}", None)


def test_a_used_up_quota_is_their_rate_limit():
    world = World(simulator={"quota_calls": 2})
    world.client.api.account()
    world.client.api.account()

    with pytest.raises(VendorThrottled):
        world.client.api.account()
    assert world.simulator.refused == 1
