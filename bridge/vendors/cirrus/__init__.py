"""Cirrus, declared. A webhook points to a result; the API answers for one candidate at a time and lists nothing."""

from __future__ import annotations

from bridge.sdk.vendor import Credential, FactSheet, Option, Quota, Vendor
from bridge.vendors.cirrus import adapter, client, identity, webhook

__all__ = ["VENDOR"]

VENDOR = Vendor(
    name="cirrus",
    title="Cirrus",
    base_url="https://api.cirrusplatform.com",
    quota=Quota(calls=3000, per_seconds=86_400.0, resets_at="13:30"),
    credentials={"token": Credential(help="the API token of the environment, which Cirrus issues")},
    options={
        "identity": Option(
            help="what identifies an attempt: schedule and candidate (pair), or the AttemptExtId that your own "
            "scheduling sets with the workflow EXTERNAL_ATTEMPTS (attempt); every expectation of such a schedule must "
            "then have it",
            default=identity.BY_PAIR,
            choices=(identity.BY_PAIR, identity.BY_ATTEMPT),
        ),
    },
    sheet=FactSheet(
        signs="nothing known: a token in the webhook's address",
        identity="schedule and candidate; or AttemptExtId",
        webhook_means="points to a result, which is read from the API",
        look_back="none needed: one candidate is requested at a time",
        quota="3,000 calls a day, resets at 13:30 UTC",
        documented=(
            "the webhook fires when a result is published or changes; what happens while it is inactive is never sent",
            "requested without a schedule, results have other member names and no `Status`",
            "a candidate who did not come looks like a score of zero with `Presence` false",
            "no call lists what is new, and polling without need is against fair use",
        ),
        observed=("a refusal may come with HTTP 200 and an `OutgoingWebhook`, or with 400",),
        assumed=(
            "the webhook's body names the result by the external ids of the API",
            "retries end after about two and a half hours",
            "of several attempts in one schedule, a result belongs to the newest handed in before it was published",
            "only results that say FINAL are final",
        ),
        ask=(
            "What are the body, the headers and the signature of the webhook?",
            'Is "Only when result is SATISFACTORY" off, so that failures and corrections come?',
            "How many attempts does a schedule allow, and are external ids free of e-mail addresses?",
            "What does the API answer once its quota is used up?",
        ),
    ),
    split=webhook.split,
    normalise=adapter.normalise,
    connect=client.Client,
    recheck=client.Client.recheck,
    # People mark and publish. The same steps apply to results under review, expectations and, with what is left of a
    # day's calls, final results that a rescoring may change: about a dozen rechecks in five weeks.
    recheck_schedule=(6 * 3600.0, 12 * 3600.0, 86_400.0, 86_400.0, 2 * 86_400.0, 4 * 86_400.0, 7 * 86_400.0),
    # The result is available when the webhook comes; one that does not appear soon may be forged and must stay cheap.
    pointer_schedule=(5.0, 60.0, 900.0, 4 * 3600.0, 86_400.0),
    expect=identity.expect,
    reference_help={
        "schedule": "external id of the schedule; alone: all of its candidates, once it has begun",
        "candidate": "external id of the candidate, together with schedule",
        "attempt": "AttemptExtId, where your own scheduling gives one",
    },
    probe=client.Client.probe,
    # What is not JSON is kept and answered with 200: the vendor's servers raise alarms about anything else.
    media_types=("application/json", "text/json", "text/plain", "application/x-www-form-urlencoded"),
)
