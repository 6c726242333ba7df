"""Mercer Mettl, declared. Unsigned webhooks say where to look; the API lists the candidates of every schedule."""

from __future__ import annotations

from bridge.sdk.vendor import Credential, FactSheet, Option, Poll, Quota, Vendor
from bridge.vendors.mettl import adapter, client, listing

__all__ = ["VENDOR"]

_DAY = 86_400.0
#: How far back, and how often, everything is read again for changes that no start time shows.
_AGAIN_BACK, _AGAIN_EVERY = 30 * _DAY, _DAY

VENDOR = Vendor(
    name="mettl",
    title="Mercer Mettl",
    base_url="https://api.mettl.com",
    # No numbers are published, only that there is a limit (E509): one call a second.
    quota=Quota(calls=60, per_seconds=60.0),
    credentials={
        "public_key": Credential(help="public API key, sent with every call"),
        "private_key": Credential(help="private API key, dashes included; signs every call and is never sent"),
    },
    options={
        "api_version": Option(
            help="version in the path; v1 signs with SHA-1", default="v2", choices=("v2", "v1", "v3")
        ),
        "schedules": Option(
            help="access keys of the schedules to poll, each the end of a schedule's link; empty: all of the account",
            default=(),
            kind="list",
        ),
        "recommendation": Option(
            help="ask for recommendations and publish them as an extension", default=False, kind="bool"
        ),
        "essays": Option(
            help="ask for essay answers and publish them, with question and marks, as an extension",
            default=False,
            kind="bool",
        ),
        "confirm": Option(
            help="read again from the API what an unsigned webhook says, before it is published; with false, anyone "
            "who knows the address can write grades",
            default=True,
            kind="bool",
        ),
    },
    sheet=FactSheet(
        signs="nothing",
        identity="schedule's access key and a digest of the e-mail address",
        webhook_means="points to an attempt; the graded one has the result",
        look_back="no limit",
        quota="not published; 60 calls a minute assumed",
        documented=(
            "every call is signed over method, address and parameter values; a time stamp is good for a day",
            "an address can take a test once per schedule; a retake is another schedule",
            "`overallStatus` Completed with `status` InProcessing has no result yet",
            "candidates are listed by start or by name; there is no filter by change",
            "an expired test may be resumed by an administrator",
        ),
        observed=(
            "webhooks carry no signature, not even those with a result",
            "one webhook has times in GMT, UTC and IST",
            "`candidate_instance_id` appears only in webhooks",
            "errors may come with HTTP 200",
        ),
        assumed=(
            "letter case of an e-mail address does not matter",
            "new candidates shift the offsets of a list while it is read",
            "a result with `status` Completed is final until it changes",
            "a second `candidate_instance_id` for one address and schedule is another sitting",
        ),
        ask=(
            "How many calls are allowed, in which period, and what details does E509 give?",
            "What is `EVENT_TYPE` when a candidate may resume, and is graded sent again after manual grading?",
            "Is a webhook retried when nobody answers, and for how long?",
        ),
    ),
    split=adapter.split,
    normalise=adapter.normalise,
    connect=client.Client,
    polls={
        "candidates": Poll(
            fetch=lambda connected, cursor: connected.page(cursor),
            rewind=listing.rewind,
            start=listing.start,
            position=listing.position,
        ),
        "again": Poll(
            fetch=lambda connected, cursor: connected.page(cursor),
            rewind=listing.rewind,
            start=listing.start,
            position=listing.position,
            sweep=lambda _options: _AGAIN_BACK,
            every=_AGAIN_EVERY,
        ),
    },
    recheck=client.Client.recheck,
    # Somebody sits for an hour or two; then essays wait for a person. A finish webhook starts a recheck at once.
    recheck_schedule=(300.0, 600.0, 900.0, 1800.0, 3600.0, 3600.0, 3 * 3600.0, 6 * 3600.0, 12 * 3600.0, _DAY),
    expect=adapter.expect,
    reference_help={
        "access_key": "the schedule's access key, at the end of its link",
        "email": "the candidate's e-mail address as registered",
    },
    probe=client.Client.probe,
    sittings=True,
)
