"""Thought Industries, declared. Webhooks are only pointers; the API lists attempts by creation."""

from __future__ import annotations

from bridge.sdk.vendor import Credential, FactSheet, Option, Poll, Quota, Vendor
from bridge.vendors.thought_industries import adapter, client, cursor

__all__ = ["ATTEMPTS", "REREADS", "VENDOR"]

#: The streams: what is new or open, and what is finished and may still change.
ATTEMPTS, REREADS = "attempts", "rereads"

VENDOR = Vendor(
    name="thought-industries",
    title="Thought Industries",
    # As documented once; each tenant has its own, https://<tenant>.thoughtindustries.com/incoming/v2.
    base_url="https://api.thoughtindustries.com/incoming/v2",
    quota=Quota(calls=120, per_seconds=60.0),
    credentials={
        "api_key": Credential(
            help="the tenant's API key, allowed to read assessment attempts; begins with ti_live_ or ti_test_"
        ),
        "webhook_secret": Credential(help="the webhook's secret", many=True),
    },
    secret_credential="webhook_secret",  # noqa: S106 - a name
    options={
        "dates": Option(
            help="format of the dates we send, on which the vendor's pages differ; `sources test` reports a wrong one",
            default="iso",
            choices=("iso", "unix_ms"),
        ),
        "reread": Option(
            help="how long finished attempts are read again for changed grades; with 1,000 attempts a day, 14 days "
            "cost 1,200 calls a day",
            default=14 * 86_400.0,
            kind="duration",
        ),
        "course_ids": Option(help="only attempts in these courses; empty: all", default=(), kind="list"),
        "user_ids": Option(help="only attempts of these users; empty: all", default=(), kind="list"),
    },
    sheet=FactSheet(
        signs="every webhook: HMAC-SHA256 of the raw body, hex",
        identity="the attempt's own uuid",
        webhook_means="points to a user in a course",
        look_back="not limited; by creation",
        quota="120 calls a minute (enterprise 600); the headers of the answers decide",
        documented=(
            "attempts are selected by creation: late finishes and changed grades are never listed again",
            "no webhook is about an attempt",
            "rows hold the whole course and user with personal and payment data",
            "the list is inside `data.AssessmentAttempts`",
            "dates are ISO 8601 on one page, UNIX milliseconds on another",
        ),
        observed=(
            "the list is at the top level, and only milliseconds are accepted",
            "`passed` is false while an attempt is under way",
            "about 250 calls in 15 minutes were allowed to one tenant",
        ),
        assumed=(
            "`updatedAt` of the first finished reading is the finish; the API gives no finish",
            "`grade` is a percentage; `pending` waits for a person; `forgiven` does not void",
            "`course.completed` names `userId` and `courseId`, or it is ignored",
        ),
        ask=(
            "What is the address of this tenant's API, and which date format does it accept?",
            "What does `data` of a `course.completed` webhook contain, and is the signature over the body as sent?",
            "What does `forgiven` mean for the result, and for how long may grades change?",
        ),
    ),
    verify=adapter.verify,
    split=adapter.split,
    normalise=adapter.normalise,
    connect=client.Client,
    polls={
        ATTEMPTS: Poll(
            fetch=client.Client.page,
            rewind=cursor.rewind,
            start=cursor.start,
            position=cursor.position,
            low_water=True,
        ),
        REREADS: Poll(
            fetch=client.Client.page,
            rewind=cursor.rewind,
            start=cursor.start,
            position=cursor.position,
            sweep=lambda options: float(options["reread"]),
            every=6 * 3600.0,
        ),
    },
    recheck=client.Client.recheck,
    expect=adapter.expect,
    reference_help={"user_id": "the user's uuid", "course_id": "the course's uuid"},
    probe=client.Client.probe,
    # Only for attempts that the rounds no longer wait for, a day old or older than the sweep: most of them were
    # abandoned.
    recheck_schedule=(3600.0, 4 * 3600.0, 12 * 3600.0, 86_400.0, 86_400.0, 86_400.0, 3 * 86_400.0),
)
