"""Coremetrix, declared. Webhooks are unsigned pointers; the report API lists by person, attempt or week."""

from __future__ import annotations

from bridge.sdk.vendor import Credential, FactSheet, Option, Poll, Quota, Vendor
from bridge.vendors.coremetrix import adapter, client

__all__ = ["VENDOR"]

VENDOR = Vendor(
    name="coremetrix",
    title="Coremetrix",
    base_url="https://api.coremetrix.com",
    # Nothing is documented: a call a second on average, one in flight, is modest.
    quota=Quota(calls=60, per_seconds=60.0),
    credentials={"api_key": Credential(help="the API key of the account, from Coremetrix")},
    options={
        "quiz_ids": Option(help="quizzes to read, by their uuid; none: all of the account", default=(), kind="list"),
        "include_test": Option(
            help="test attempts as well; nothing in an attempt says that it was one", default=False, kind="bool"
        ),
        "confirm": Option(
            help="read every announced attempt from the API; webhooks carry no result, so false changes nothing",
            default=True,
            kind="bool",
        ),
    },
    sheet=FactSheet(
        signs="nothing",
        identity="the attempt's uuid",
        webhook_means="points to an attempt or a person; consent given or withdrawn",
        look_back="not limited, seven days a call",
        quota="not stated; 60 calls a minute are kept",
        documented=(
            "a window of more than seven days is refused; test attempts are listed only on request",
            "the answer by attempt id does not say who sat it",
            "`attempt_scored` and `attempt_profiled` also come when an attempt was merely flagged",
            "a person may sit a quiz again after three months, under the same person id",
        ),
        observed=(),
        assumed=(
            "webhooks are not signed, may come in any order, more than once, or not at all",
            "the API key is the query parameter `apikey` on every call, as shown for the list of events",
            "COMPLETED_NOT_SCORED without flags may still become scored for a day",
            "`from` and `to` may select by load, start or end, so every round reads the last seven days again",
        ),
        ask=(
            "Does a webhook name the attempt, as `attemptId` or `id`, and is it the id of the report API?",
            "Does `quiz_consent_withdrawal` name the quiz, and what must be done with results published before?",
            "Which time do `from` and `to` select, is there a limit on rows, and how many calls are allowed?",
            "Are webhooks sent for test attempts, and does the answer by customId list them?",
        ),
    ),
    split=adapter.split,
    normalise=adapter.normalise,
    connect=client.Client,
    polls={
        adapter.ATTEMPTS: Poll(
            fetch=lambda connected, cursor: connected.page(cursor),
            rewind=client.rewind,
            start=client.start,
            position=client.position,
        )
    },
    recheck=client.Client.recheck,
    expect=adapter.expect,
    reference_help={
        "custom_id": "the company's own id of the person (puid); the newest attempt at each quiz",
        "quiz_id": "with custom_id: the uuid of one quiz",
        "attempt_id": "the attempt's uuid; with custom_id as well, the person is known",
    },
    probe=client.Client.probe,
    # Scores follow within minutes; a posted id that the API does not know within hours is none.
    pointer_schedule=(5.0, 30.0, 120.0, 600.0, 3600.0, 4 * 3600.0),
    # Quizzes take minutes and are scored soon; whoever has not finished after days hardly ever does.
    recheck_schedule=(300.0, 900.0, 3600.0, 4 * 3600.0, 12 * 3600.0, 86_400.0, 3 * 86_400.0, 7 * 86_400.0),
)
