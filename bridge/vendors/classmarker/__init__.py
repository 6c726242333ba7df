"""ClassMarker, declared. Webhooks carry whole results; the API lists what finished in the last three months."""

from __future__ import annotations

from bridge.vendor import Credential, Option, Poll, Quota, Vendor
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
        "api_key": Credential(help="My Account > API/Webhooks > API key"),
        "api_secret": Credential(help="shown beside the API key"),
        "webhook_secret": Credential(help="the webhook's secret phrase; two while it is being changed", many=True),
    },
    secret_credential="webhook_secret",  # noqa: S106 - a name
    options={
        "signature": Option(
            help="digest of the API signature: the vendor's page says md5, its own client uses sha256",
            default="sha256",
            choices=("sha256", "md5"),
        ),
        "format": Option(help="form of the API's answers", default="json", choices=("json", "xml")),
    },
    verify=adapter.verify,
    split=adapter.split,
    normalise=adapter.normalise,
    connect=client.Client,
    polls={adapter.GROUPS: _poll(adapter.GROUPS), adapter.LINKS: _poll(adapter.LINKS)},
    recheck=client.recheck,
    # A person grades: look after an hour, then ever less often. Thirty calls an hour are for everything.
    recheck_schedule=(3600.0, 4 * 3600.0, 12 * 3600.0, 86_400.0),
    look_back_limit=client.LOOK_BACK_SECONDS,
)
