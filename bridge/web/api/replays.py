"""`/api/v1/replays`: jobs that send dead letters or events again, or read quarantined records again."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any, NoReturn

from marshmallow import fields

from bridge.delivery.group_store import FailureGroups
from bridge.delivery.replay_archive import Archive
from bridge.delivery.replay_jobs import (
    ACTIONS,
    DEAD_LETTERS,
    ENDED,
    EVENTS,
    QUARANTINE,
    Part,
    Replay,
    StoredReplay,
    replay_id,
)
from bridge.delivery.replay_making import Preview, archived_parts, frozen_parts, named_parts, preview
from bridge.delivery.replay_selection import Selection, fields_of
from bridge.errors import clip
from bridge.text import did_you_mean
from bridge.web.api.auditing import audited, not_a_change
from bridge.web.api.bodies import BODY_ERRORS, ApiBlueprint
from bridge.web.api.common import OPERATOR, VIEWER, caller_here, mask_persons, needs, refuse, services_here
from bridge.web.api.description import described
from bridge.web.api.filters import query_of
from bridge.web.api.paging import Page, PageQuery, page_of, position_of, refuse_cursor
from bridge.web.api.replay_archives import archive_of, archive_targets
from bridge.web.api.replay_ids import places_of
from bridge.web.api.replay_shapes import Made, NewReplay, ReplayShape, preview_row, replay_row
from bridge.web.api.subscription_names import subscription_names

__all__ = ["blueprint"]

blueprint = ApiBlueprint(
    "replays", __name__, url_prefix="/api/v1/replays", description="Jobs that send or read something again."
)
#: How the operations on one job take its id from the answer that made it.
_ITSELF = {"parameters": {"ident": "$response.body#/replay/id"}}
_LINKS = {name: _ITSELF | {"operationId": name} for name in ("showReplay", "stopReplay", "resumeReplay", "abortReplay")}
_EXAMPLE = {"what": "dead_letters", "filter": "reason:receiver_error", "preview": True}


class ReplayPage(Page):
    """Replay jobs, newest first."""

    replays = fields.List(fields.Nested(ReplayShape), required=True)


@blueprint.route("", methods=["POST"])
@needs(OPERATOR)
@described(
    blueprint, "addReplay", *BODY_ERRORS, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, answers={201: {"links": _LINKS}}
)
@blueprint.arguments(NewReplay, example=_EXAMPLE)
@blueprint.response(201, Made, description="The job, which runs from now on")
@blueprint.alt_response(200, schema=Made, description="The preview that was asked for")
def add_replay(document: Mapping[str, Any]) -> Any:
    """Make a replay job, or preview one

    What is replayed is fixed when the job is made: what fails or is published later is not part of it. The events keep
    their ids; receivers see the job's id in the header `bridge-replay`. A dispatch process runs the job.
    With `from_archive` the events that the journal still has are left out. 404: nothing matches. 409: the subscription
    is no longer in `bridge.yaml`. 503: the archive's database cannot be read.
    """
    services = services_here()
    with archive_of(document, services.now()) as archive:
        job, unknown = _planned(document, archive)
        selection = Selection(services.state, job, services.config.subscriptions, archive=archive)
        counted = preview(services.state, job, selection)
    shown = preview_row(counted, job, unknown)
    if document["preview"]:
        not_a_change()
        return {"replay": None, "preview": shown}, 200
    if counted.complete and not counted.total:
        refuse(404, _nothing(job))
    services.replays.trim()
    services.replays.add(job)
    audited(f"replay {job.id}", after=_audit_row(job, counted))
    stored = _known(job.id)
    return {"replay": replay_row(stored), "preview": shown}


@blueprint.route("", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "listReplays")
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(200, ReplayPage, description="The jobs")
def list_replays(query: Mapping[str, Any]) -> dict[str, Any]:
    """List replay jobs

    Newest first. Those that can continue are kept, and the last 200 that have ended.
    """
    position = position_of("replays", query, parts=2)
    before = None
    if position is not None:
        try:
            before = float(position[0]), position[1]
        except ValueError:
            refuse_cursor("is not a cursor of replays")
    replays = services_here().replays.newest_first(before=before)
    return page_of(
        "replays", replays, query["limit"], lambda replay: (repr(replay.job.created), replay.job.id), _masked
    )


@blueprint.route("/<ident>", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "showReplay", HTTPStatus.NOT_FOUND)
@blueprint.response(200, ReplayShape, description="The job")
def show_replay(ident: str) -> dict[str, Any]:
    """Show one replay job

    With its progress.
    """
    return _masked(_known(ident))


@blueprint.route("/<ident>/stop", methods=["POST"])
@needs(OPERATOR)
@described(blueprint, "stopReplay", HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)
@blueprint.response(200, ReplayShape, description="The job")
def stop_replay(ident: str) -> dict[str, Any]:
    """Stop a replay job

    After the current batch; what it made due is still sent. `resumeReplay` continues it. 409: it does not run.
    """
    return _changed(ident, "stop")


@blueprint.route("/<ident>/resume", methods=["POST"])
@needs(OPERATOR)
@described(blueprint, "resumeReplay", HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)
@blueprint.response(200, ReplayShape, description="The job")
def resume_replay(ident: str) -> dict[str, Any]:
    """Continue a replay job

    A stopped or failed one continues where it ended. 409: it runs, or has ended.
    """
    return _changed(ident, "resume")


@blueprint.route("/<ident>/abort", methods=["POST"])
@needs(OPERATOR)
@described(blueprint, "abortReplay", HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)
@blueprint.response(200, ReplayShape, description="The job")
def abort_replay(ident: str) -> dict[str, Any]:
    """End a replay job permanently

    After the current batch; what it made due is still sent. 409: it has ended.
    """
    return _changed(ident, "abort")


def _changed(ident: str, action: str) -> dict[str, Any]:
    services = services_here()
    state, allowed = ACTIONS[action]
    before = services.replays.change(ident, state, allowed, now=services.now())
    if not before:
        _refuse_unknown(ident)
    if before in ENDED:
        refuse(409, f"{ident} has ended: {before}. Make a new one")
    if before not in allowed:
        refuse(409, f"{ident} is {before}: nothing to {action}")
    audited(f"replay {ident}", before={"state": before}, after={"state": state})
    return replay_row(_known(ident))


def _known(ident: str) -> StoredReplay:
    stored = services_here().replays.get(ident)
    if stored is None:
        _refuse_unknown(ident)
    return stored


def _refuse_unknown(ident: str) -> NoReturn:
    refuse(404, f"unknown replay: {clip(ident, 60)}. See the list of replays")


def _masked(stored: StoredReplay) -> dict[str, Any]:
    """The job, without its filter for callers who may not see persons: it may name one."""
    row = replay_row(stored)
    return mask_persons(row, "filter") if row["filter"] else row


def _planned(document: Mapping[str, Any], archive: Archive | None) -> tuple[Replay, list[str]]:
    """(the job, not stored; ids that were not found)."""
    services, kind, caller = services_here(), document["what"], caller_here()
    now = services.now()
    job = Replay(
        id=replay_id(now, os.urandom(2)),
        kind=kind,
        parts=(),
        rate=document["rate"],
        created=now,
        by="" if caller is None else caller.name,
        archive=document.get("from_archive", ""),
    )
    if "ids" in document:
        if kind == DEAD_LETTERS:
            _refuse_removed(ident.partition("/")[0] for ident in document["ids"])
        places, unknown = places_of(kind, list(dict.fromkeys(document["ids"])), _subscriptions(document))
        if len(unknown) == len(set(document["ids"])):
            refuse(
                404, f"unknown ids: {', '.join(clip(ident, 80) for ident in unknown[:3])}. They may be replayed already"
            )
        return replace(job, parts=named_parts(places)), unknown
    if "group" in document:
        name, _, fingerprint = document["group"].partition("/")
        _refuse_removed([name])
        if not FailureGroups(services.deliveries).find(_configured(name), fingerprint):
            refuse(404, f"unknown failure group: {clip(document['group'], 80)}. See the list of failure groups")
        until = query_of(document, fields_of(kind)).until
        return replace(job, parts=_frozen(kind, [name], None, until), group=fingerprint), []
    asked, names = query_of(document, fields_of(kind)), _subscriptions(document)
    if archive is None:
        parts = _frozen(kind, names, asked.since, asked.until)
    else:
        numbers = services.config.bridge.partitions
        names = archive_targets(document, names)
        parts = archived_parts(archive, names, partitions=numbers, since=asked.since, until=asked.until)
    return replace(job, parts=parts, filter=str(asked)), []


def _frozen(kind: str, names: Sequence[str], since: float | None, until: float | None) -> tuple[Part, ...]:
    services = services_here()
    partitions = services.config.bridge.partitions
    return frozen_parts(services.state, kind, names, partitions=partitions, since=since, until=until)


def _subscriptions(document: Mapping[str, Any]) -> list[str]:
    """The subscriptions that are named, or all of bridge.yaml; refuses others with 422."""
    named = document.get("subscriptions")
    if named is None:
        return sorted(services_here().config.subscriptions)
    return sorted({_configured(name) for name in named})


def _refuse_removed(names: Iterable[str]) -> None:
    """Refuse with 409 what only a subscription that is no longer in bridge.yaml would get."""
    gone = set(names) - services_here().config.subscriptions.keys()
    if removed := sorted(gone & set(subscription_names())) if gone else []:
        refuse(409, f"subscription {clip(removed[0])} is no longer in bridge.yaml. Remedy: add it again")


def _configured(name: str) -> str:
    configured = services_here().config.subscriptions
    if name not in configured:
        problem = f'unknown subscription: "{clip(name, 80)}". {did_you_mean(name, configured)}'
        refuse(422, problem, errors={"subscriptions": [problem]})
    return name


def _nothing(job: Replay) -> str:
    what = {DEAD_LETTERS: "dead letter", EVENTS: "event", QUARANTINE: "quarantined record"}[job.kind]
    return f"nothing to replay: no {what} matches. Preview other ids, another filter or period"


def _audit_row(job: Replay, preview: Preview) -> dict[str, Any]:
    """Without the filter: it may name a person."""
    return {
        "what": job.kind,
        "subscriptions": job.subscriptions,
        "items": preview.total,
        "complete": preview.complete,
        "filtered": bool(job.filter),
        **({"from_archive": job.archive} if job.archive else {}),
        "rate": job.rate,
    }
