"""`/api/v1/subscriptions`: the configured receivers, and the state of delivering to them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from bridge.delivery.orphans import forget as delete_subscription
from bridge.delivery.orphans import served_by
from bridge.delivery.subscription_rows import subscription_details, subscription_row, subscription_rows
from bridge.delivery.subscription_test import WAIT_SECONDS, AskedTest, Report, SubscriptionTests, reads_journal
from bridge.state import keys
from bridge.state.errors import state_errors
from bridge.web.api.auditing import audited, not_a_change
from bridge.web.api.bodies import BODY_ERRORS, ApiBlueprint
from bridge.web.api.common import OPERATOR, VIEWER, needs, refuse, sees_persons, services_here
from bridge.web.api.description import described
from bridge.web.api.filters import iso, without_addresses
from bridge.web.api.paging import PageQuery, page_of, position_of
from bridge.web.api.subscription_names import subscription_names, unknown_subscription
from bridge.web.api.subscription_shapes import (
    ForgetOptions,
    Forgotten,
    Paused,
    Resumed,
    SubscriptionDetails,
    SubscriptionPage,
    Tested,
)

__all__ = ["blueprint"]

blueprint = ApiBlueprint(
    "subscriptions", __name__, url_prefix="/api/v1/subscriptions", description="Configured receivers."
)


@blueprint.route("", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "listSubscriptions")
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(200, SubscriptionPage, description="The subscriptions")
def list_subscriptions(query: Mapping[str, Any]) -> dict[str, Any]:
    """List subscriptions

    In the order of the configuration, then those that are no longer in it but not forgotten.
    """
    position = position_of("subscriptions", query)
    names = subscription_names()
    if position is not None:
        # A subscription that has been forgotten since sorts behind all others.
        names = names[names.index(position[0]) + 1 :] if position[0] in names else []
    page = page_of("subscriptions", names, query["limit"], lambda name: (name,))
    services = services_here()
    rows = subscription_rows(services.deliveries, services.config, page["subscriptions"], now=services.now())
    return {**page, "subscriptions": [_shown(row) for row in rows]}


@blueprint.route("/<name>", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "showSubscription", HTTPStatus.NOT_FOUND)
@blueprint.response(200, SubscriptionDetails, description="The subscription")
def show_subscription(name: str) -> dict[str, Any]:
    """Show one subscription

    Configuration without secrets, counters, circuit, waiting events. One that is no longer configured has no
    `configuration`.
    """
    services, known = services_here(), _known(name)
    return _shown(subscription_details(services.deliveries, services.config, known, now=services.now()))


@blueprint.route("/<name>/pause", methods=["POST"])
@needs(OPERATOR)
@described(blueprint, "pauseSubscription", HTTPStatus.NOT_FOUND)
@blueprint.response(200, Paused, description="Paused")
def pause_subscription(name: str) -> dict[str, Any]:
    """Pause a subscription

    Nothing more is sent until it is resumed; its events wait in the journal, for `bridge.retention.events` at most.
    What is being sent at the moment may still arrive: `sending` of the subscription is 0 once nothing is.
    """
    services, before = services_here(), _row(_configured(name))
    changed = services.deliveries.pause(name)
    audited(f"subscription {name}", before=_change(before), after=_change(_row(name)))
    return {"changed": changed, "sending": services.deliveries.sending(name)}


@blueprint.route("/<name>/resume", methods=["POST"])
@needs(OPERATOR)
@described(blueprint, "resumeSubscription", HTTPStatus.NOT_FOUND)
@blueprint.response(200, Resumed, description="Resumed")
def resume_subscription(name: str) -> dict[str, Any]:
    """Resume a subscription

    One that is paused or disabled, or whose circuit is open. Its waiting retries are due at once.
    """
    services, before = services_here(), _row(_configured(name))
    changed = services.deliveries.resume(name)
    retries = services.deliveries.retry_now(name, now=services.now())
    audited(f"subscription {name}", before=_change(before), after=_change(_row(name)) | {"retries_due": retries})
    return {"changed": changed, "retries": retries}


@blueprint.route("/<name>/forget", methods=["POST"])
@needs(OPERATOR)
@described(blueprint, "forgetSubscription", HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, *BODY_ERRORS)
@blueprint.arguments(ForgetOptions, example={"dry_run": True})
@blueprint.response(200, Forgotten, description="What was deleted")
def forget_subscription(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Forget a subscription

    Delete what is left of one that is no longer in the configuration: its place in the journal, retries and dead
    letters. The events in the journal remain. 409: it is still configured, or a dispatch process still serves it.
    """
    services, known = services_here(), _known(name)
    if known in services.config.subscriptions:
        remedy = "Remove it there and run attempt-bridge config reload first"
        refuse(409, f"{known} is in {services.config.path}. {remedy}")
    partitions = services.config.bridge.partitions
    if served_by(services.state, known, partitions=partitions):
        refuse(409, f"{known} is still served by a dispatch process. Run attempt-bridge config reload first")
    row = _row(known)
    lost = {member: row[member] for member in ("waiting", "retrying", "dead_letters")}
    if document["dry_run"]:
        not_a_change()
    else:
        delete_subscription(services.state, known, partitions=partitions)
        audited(f"subscription {known}", before=lost)
    return {"forgotten": not document["dry_run"], **lost}


@blueprint.route("/<name>/test", methods=["POST"])
@needs(OPERATOR)
@described(blueprint, "testSubscription", HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.GATEWAY_TIMEOUT)
@blueprint.response(200, Tested, description="What was sent, and what came of it")
def test_subscription(name: str) -> dict[str, Any]:
    """Test a subscription

    A dispatch process sends one event of type `bridge.test`, with the attribute `bridgetest`, at once and without a
    retry, whatever the filter, even while the subscription is paused. It is not in the journal and does not count as a
    delivery. A broker accepts it even if no receiver runs. 409: no dispatch process runs, another test is under way, or
    there is nothing to send. 504: no report has come within 45 s.
    """
    services = services_here()
    _require_testable(name)
    tests = SubscriptionTests(services.state, services.blocking_client)
    test = AskedTest(os.urandom(12).hex(), name, services.config.digest)
    if not tests.ask(test):
        refuse(409, f"another test of {name} is under way. Remedy: repeat this in a moment")
    report = tests.wait(test, WAIT_SECONDS)
    if report is None:
        refuse(504, f"no report within {WAIT_SECONDS:g} s. Remedy: see the log of dispatch, and attempt-bridge doctor")
    audited(f"subscription {name}", after={"test": report.reason or "ok"})
    return {**_tested(report), "subscription": name, "state": _row(name)["state"]}


def _require_testable(name: str) -> None:
    """Refuse a test that cannot be done."""
    services = services_here()
    if name not in services.config.subscriptions:
        if reads_journal(services.state, name, partitions=services.config.bridge.partitions):
            refuse(409, f"{name} reads the journal itself: there is nothing to send")
        if _known(name):
            refuse(409, f"{name} is no longer in {services.config.path}. Remedy: add it again")
    with state_errors():
        runs = services.state.exists(keys.heartbeat("dispatch"))
    if not runs:
        refuse(409, "no dispatch process runs that could send the test. Remedy: start attempt-bridge dispatch, or up")


def _tested(report: Report) -> dict[str, Any]:
    return {
        "ok": not report.problem,
        "problem": report.problem,
        "reason": report.reason,
        "event_id": report.event_id,
        "at": iso(report.at),
        "seconds": report.seconds,
        "request": dict(report.request) or None,
        "status": report.status,
        "answer": report.answer,
    }


def _known(name: str) -> str:
    problem = unknown_subscription(name)
    if problem:
        refuse(404, problem)
    return name


def _configured(name: str) -> str:
    """A name in the configuration: one that was removed from it can be neither paused nor resumed."""
    problem = unknown_subscription(name, configured=True)
    if problem:
        refuse(404, problem)
    return name


def _row(name: str) -> dict[str, Any]:
    services = services_here()
    return _shown(subscription_row(services.deliveries, services.config, name, now=services.now()))


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = row if sees_persons() else without_addresses(row)
    return shown


def _change(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"state": row["state"], "circuit": row["circuit"]}
