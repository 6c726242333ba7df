"""ClassMarker, declared. Webhooks carry whole results; the API lists what finished in the last three months."""

from __future__ import annotations

from bridge.sdk.vendor import Credential, FactSheet, Option, Poll, Quota, Vendor
from bridge.vendors.classmarker import adapter, client

__all__ = ["VENDOR"]


def _poll(stream: str) -> Poll:
    return Poll(
        fetch=lambda connected, cursor: connected.page(stream, cursor),
        rewind=client.rewind,
        start=client.start,
        position=client.position,
    )


VENDOR = Vendor(
    name="classmarker",
    title="ClassMarker",
    base_url="https://api.classmarker.com",
    quota=Quota(calls=30, per_seconds=3600.0),
    credentials={
        "api_key": Credential(help="the API key, under My Account > API/Webhooks"),
        "api_secret": Credential(help="shown next to the API key"),
        "webhook_secret": Credential(help="the webhook's secret phrase", many=True),
    },
    secret_credential="webhook_secret",  # noqa: S106 - a name
    options={
        "signature": Option(
            help="digest of the API signature; if every call gets apiKeyAuthFail despite the right key and secret, "
            "try the other one",
            default="sha256",
            choices=("sha256", "md5"),
        ),
        "format": Option(help="format of the API's answers", default="json", choices=("json", "xml")),
    },
    sheet=FactSheet(
        signs="every webhook: HMAC-SHA256 of the raw body, base64",
        identity="link result; or user, test, group and start",
        webhook_means="the whole result",
        look_back="three months",
        quota="30 calls an hour for each key, both streams together",
        documented=(
            "`requires_grading` turns from Yes to No when a person has graded; `time_finished` does not move",
            "a webhook is repeated for several hours unless it is answered with 200",
            "only results finished within three months are listed",
        ),
        observed=(
            "the signature header arrives twice, joined by a comma",
            "the vendor's own client signs API calls with SHA-256, its page says MD5",
            "numbers and booleans come as text as well",
        ),
        assumed=(
            "`finishedAfterTimestamp` may or may not include its second, so every round goes back a minute",
            "an attempt keeps its start when an administrator opens it again",
        ),
        ask=(
            "Is API access switched on for the key, and does the key see every group and link?",
            "Do people grade, and after how many days at the latest?",
        ),
    ),
    verify=adapter.verify,
    split=adapter.split,
    normalise=adapter.normalise,
    connect=client.Client,
    polls={adapter.GROUPS: _poll(adapter.GROUPS), adapter.LINKS: _poll(adapter.LINKS)},
    recheck=client.Client.recheck,
    expect=adapter.expect,
    reference_help={
        "stream": "link or group",
        "result": "link: the id of the result",
        "link": "link: the link's id, if known",
        "user": "group: the user's id",
        "test": "group: the test's id; link: with `link`, only that test behind that link is listed",
        "group": "group: the group's id",
        "started": "group: UNIX seconds of the start; without it, the next attempt of that user at that test",
        "finished": "UNIX seconds of the finish, or earlier, if known: the search starts there",
    },
    # A person grades: recheck after an hour, then less and less often. The thirty calls an hour are for all purposes.
    recheck_schedule=(3600.0, 4 * 3600.0, 12 * 3600.0, 86_400.0),
    look_back_limit=client.LOOK_BACK_SECONDS,
)
