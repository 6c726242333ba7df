"""`/api/v1/sources`: the configured vendor accounts, and the state of reading from them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from marshmallow import EXCLUDE, Schema, fields

from bridge.config.model import Source
from bridge.errors import clip
from bridge.monitoring.source_rows import source_details, source_rows
from bridge.sdk.vendor import streams
from bridge.text import did_you_mean
from bridge.web.api.auditing import audited
from bridge.web.api.bodies import ApiBlueprint
from bridge.web.api.common import OPERATOR, VIEWER, needs, refuse, sees_persons, services_here
from bridge.web.api.description import described
from bridge.web.api.filters import without_addresses
from bridge.web.api.members import shown_time
from bridge.web.api.paging import Page, PageQuery, page_of, position_of

__all__ = ["blueprint", "known_or_404"]

blueprint = ApiBlueprint("sources", __name__, url_prefix="/api/v1/sources", description="Configured vendor accounts.")


def _number(description: str) -> fields.Integer:
    return fields.Integer(required=True, metadata={"description": description})


class LastReconciliation(Schema):
    """The newest comparison of a source, in numbers."""

    class Meta:
        unknown = EXCLUDE

    id = fields.String(required=True, metadata={"description": "Its id in `/api/v1/reconciliations`."})
    made = shown_time("When it was begun.")
    since = shown_time("Start of the period, by when attempts finished.")
    until = shown_time("End of the period.")
    listed = _number("Attempts that the vendor lists.")
    both = _number("Attempts that a webhook and a poll have seen.")
    webhook_only = _number("Attempts that only a webhook has seen.")
    poll_only = _number("Attempts that only a poll has seen.")
    missing = _number("Attempts that the vendor lists and that were not published.")
    expected = _number("Expected attempts past their due time, neither listed nor published.")
    still_missing = _number("Those of `missing` that it has not published itself.")


class SourceRow(Schema):
    """One source."""

    class Meta:
        unknown = EXCLUDE

    name = fields.String(required=True, metadata={"description": "Name of the source."})
    vendor = fields.String(required=True, metadata={"description": "Name of the vendor."})
    webhook = fields.Boolean(required=True, metadata={"description": "Whether webhooks are enabled."})
    last_webhook_at = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "Last webhook, as of the latest check of the source."},
    )
    poll = fields.Raw(required=True, metadata={"description": "Interval of the polls, or false."})
    last_poll = fields.String(required=True, allow_none=True, metadata={"description": "When the last one began."})
    last_error = fields.String(required=True, allow_none=True, metadata={"description": "What went wrong in it."})
    budget_left = fields.String(required=True, metadata={"description": "Calls left, of all calls of the budget."})
    watches_due = fields.Integer(required=True, metadata={"description": "Watches that wait for a recheck."})
    expected = fields.Integer(required=True, metadata={"description": "Expected attempts before their deadline."})
    overdue = fields.Integer(required=True, metadata={"description": "Expected attempts past their deadline."})
    paused = fields.Raw(required=True, metadata={"description": "False, true (in the file), or why it is paused."})
    raised_alarms = fields.List(
        fields.String(), required=True, metadata={"description": "Types of the alarms that are raised now."}
    )
    last_reconciliation = fields.Nested(
        LastReconciliation, required=True, allow_none=True, metadata={"description": "The newest result; null: none."}
    )


class SourceDetails(SourceRow):
    """One source with everything that is known about it."""

    webhook_url = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "What to enter at the vendor; null: the vendor sends no webhooks."},
    )
    base_url = fields.String(required=True, metadata={"description": "Address of the vendor's API."})
    options = fields.Dict(required=True, metadata={"description": "Options as configured."})
    reference = fields.Dict(
        required=True,
        metadata={"description": "Member of a watch's reference -> what it is; empty: single attempts cannot be read."},
    )
    last_webhook = fields.Dict(
        required=True,
        allow_none=True,
        metadata={"description": "The newest request; only its time if many of other sources have come since."},
    )
    last_test = fields.Dict(
        required=True, allow_none=True, metadata={"description": "`id`, `state` and time of its newest test."}
    )
    budget = fields.Dict(required=True, metadata={"description": "Calls made and left, and when it resets."})
    cursors = fields.Dict(required=True, metadata={"description": "Stream -> how far it has been read."})
    rounds = fields.List(fields.Dict(), required=True, metadata={"description": "The last rounds of polling."})
    watches = fields.List(fields.Dict(), required=True, metadata={"description": "The watches that are due first."})
    alarms = fields.List(fields.Dict(), required=True, metadata={"description": "What is wrong now."})


class SourcePage(Page):
    """Sources, in the order of the file."""

    sources = fields.List(fields.Nested(SourceRow), required=True)


class Changed(Schema):
    """What a call has changed."""

    changed = fields.Boolean(required=True, metadata={"description": "False: it already was."})


@blueprint.route("", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "listSources")
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(200, SourcePage, description="The sources")
def list_sources(query: dict[str, Any]) -> dict[str, Any]:
    """List sources

    With their last poll, budget and watches, in the order of the configuration.
    """
    services = services_here()
    position = position_of("sources", query)
    sources = list(services.config.sources.values())
    if position is not None:
        # A source that has been removed since sorts behind all others.
        names = [source.name for source in sources]
        sources = sources[names.index(position[0]) + 1 :] if position[0] in names else []
    page = page_of("sources", sources, query["limit"], lambda source: (source.name,))
    return {**page, "sources": [_shown(row) for row in source_rows(services, page["sources"])]}


@blueprint.route("/<name>", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "showSource", HTTPStatus.NOT_FOUND)
@blueprint.response(200, SourceDetails, description="The source")
def show_source(name: str) -> dict[str, Any]:
    """Show one source

    Addresses, cursors, last polls, budget, watches, alarms, last webhook.
    """
    return _shown(source_details(services_here(), known_or_404(name)))


@blueprint.route("/<name>/pause", methods=["POST"])
@needs(OPERATOR)
@described(blueprint, "pauseSource", HTTPStatus.NOT_FOUND)
@blueprint.response(200, Changed, description="Paused")
def pause_source(name: str) -> dict[str, Any]:
    """Pause a source

    No polls, and 503 for its webhooks, until it is resumed. Polling then continues from its cursors.
    """
    services, source = services_here(), known_or_404(name)
    before = services.budgets.paused(name, services.now())
    services.budgets.pause(source.name)
    changed = before is None or not before.by_operator
    audited(f"source {name}", before={"paused": not changed}, after={"paused": True})
    return {"changed": changed}


@blueprint.route("/<name>/resume", methods=["POST"])
@needs(OPERATOR)
@described(blueprint, "resumeSource", HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)
@blueprint.response(200, Changed, description="Resumed")
def resume_source(name: str) -> dict[str, Any]:
    """Resume a source

    Also one that has stopped because the vendor refused its credentials. 409: the configuration keeps it paused.
    """
    services, source = services_here(), known_or_404(name)
    was_paused = services.budgets.resume(name)
    audited(f"source {name}", before={"paused": was_paused}, after={"paused": source.paused})
    if source.paused:
        refuse(
            409,
            f"{services.config.path}: sources.{name}.paused: true keeps it paused. Remedy: remove the line, then "
            "attempt-bridge config reload",
        )
    return {"changed": was_paused}


@blueprint.route("/<name>/poll", methods=["POST"])
@needs(OPERATOR)
@described(blueprint, "pollSource", HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)
@blueprint.response(202, Changed, description="It is polled within seconds, if a worker runs")
def poll_source(name: str) -> dict[str, Any]:
    """Poll a source now

    A worker begins within seconds, or as soon as another reading of the source has ended; within its budget. 409: it
    is paused, or has nothing to poll.
    """
    services, source = services_here(), known_or_404(name)
    if not source.poll.enabled or not streams(services.vendors[source.vendor], source.options):
        refuse(409, f"source {name} has nothing to poll. Remedy: set sources.{name}.poll.enabled")
    pause = services.budgets.paused(name, services.now())
    if source.paused or pause is not None:
        reason = pause.reason if pause is not None else "by its configuration"
        refuse(409, f"source {name} is paused: {reason}. Remedy: attempt-bridge sources resume {name}")
    asked = name in services.polls_asked.all()
    services.polls_asked.ask(name)
    audited(f"source {name}", after={"poll": "now"})
    return {"changed": not asked}


def known_or_404(name: str) -> Source:
    """The source of an address; refuses an unknown one with 404."""
    sources = services_here().config.sources
    if name not in sources:
        refuse(404, f'unknown source: "{clip(name, 40)}". {did_you_mean(name, sources)}')
    return sources[name]


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """The row; for callers who may not see persons, without the addresses that an error quotes."""
    shown: dict[str, Any] = row if sees_persons() else without_addresses(row)
    return shown
