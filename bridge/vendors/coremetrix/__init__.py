"""Coremetrix, declared. Webhooks are unsigned pointers; the report API lists by person, attempt or week."""

from __future__ import annotations

from bridge.sdk.vendor import Credential, FactSheet, Option, Poll, Quota, Vendor
from bridge.vendors.coremetrix import adapter, client

__all__ = ["VENDOR"]

VENDOR = Vendor(
    name="coremetrix",
    title="Coremetrix",
    base_url="https://api.coremetrix.com",
    # No limit is documented: a call a second on average, one at a time, is modest.
    quota=Quota(calls=60, per_seconds=60.0),
    credentials={"api_key": Credential(help="the API key of the account, from Coremetrix")},
    options={
        "quiz_ids": Option(help="uuids of the quizzes to read; empty: all of the account", default=(), kind="list"),
        "include_test": Option(
            help="read test attempts too; nothing in an attempt says that it is one", default=False, kind="bool"
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
        look_back="not limited; seven days in one call",
        quota="not stated; at most 60 calls a minute are made",
        documented=(
            "a window of more than seven days is refused; test attempts are listed only on request",
            "an attempt requested by id does not say who sat it",
            "`attempt_scored` and `attempt_profiled` also come when an attempt was merely flagged",
            "a person may sit a quiz again after three months, under the same person id",
        ),
        observed=(),
        assumed=(
            "webhooks are not signed, may come in any order, more than once, or not at all",
            "the API key is the query parameter `apikey` on every call, as shown for the list of events",
            "COMPLETED_NOT_SCORED without flags may still become scored for a day",
            "`from` and `to` may apply to load, start or end, so every round reads the last seven days again",
        ),
        ask=(
            "Does a webhook name the attempt, as `attemptId` or `id`, and is it the id of the report API?",
            "Does `quiz_consent_withdrawal` name the quiz, and what must happen to results already published?",
            "Which time do `from` and `to` apply to, is there a limit on rows, and how many calls are allowed?",
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
    # Scores follow within minutes; an announced id that the API does not know within hours does not exist.
    pointer_schedule=(5.0, 30.0, 120.0, 600.0, 3600.0, 4 * 3600.0),
    # Quizzes take minutes and are scored soon; someone who has not finished after days hardly ever will.
    recheck_schedule=(300.0, 900.0, 3600.0, 4 * 3600.0, 12 * 3600.0, 86_400.0, 3 * 86_400.0, 7 * 86_400.0),
)
