"""`/api/v1/watches`: expected attempts, and all others that are rechecked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, NoReturn

import gevent
from flask import Response, current_app
from marshmallow import ValidationError

from bridge import watch_registration
from bridge.audit import digest_of
from bridge.polling.expectations import KNOWN_AFTER_SECONDS
from bridge.services import Services
from bridge.watch_registration import Listed
from bridge.web.api.auditing import audited, not_a_change
from bridge.web.api.bodies import BODY_ERRORS, ApiBlueprint
from bridge.web.api.common import OPERATOR, VIEWER, is_local, known_source, mask_persons, needs, refuse, services_here
from bridge.web.api.description import described
from bridge.web.api.paging import page_of, position_of, refuse_cursor
from bridge.web.api.watch_batch_shapes import MAX_BATCH, Cancelled, NewWatches, Registered, ToCancel
from bridge.web.api.watch_shapes import NewWatch, WatchFilter, WatchPage, WatchRow
from bridge.web.watch_csv import NotCsv, read_lines
from bridge.web.watch_csv import document as document_of

__all__ = ["blueprint", "masked_watch"]

blueprint = ApiBlueprint(
    "watches", __name__, url_prefix="/api/v1/watches", description="Attempts that are rechecked or expected."
)

#: How long the order of a list is kept for its further pages.
_KEPT_SECONDS = 30.0
#: A body of `addWatch`, for the description.
_EXPECTED = {
    "source": "exams",
    "reference": {"schedule": "SPRING-07", "candidate": "cand-20417"},
    "due": "2099-12-01T12:00:00Z",
    "deadline": "2099-12-03",
    "label": "order-4711",
}
#: How the operations on one watch take its id from an answer.
_ITSELF = {"parameters": {"ident": "$response.body#/id"}}


@blueprint.route("", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "listWatches")
@blueprint.arguments(WatchFilter, location="query")
@blueprint.response(200, WatchPage, description="The watches that match")
def list_watches(query: Mapping[str, Any]) -> dict[str, Any]:
    """List watches

    Overdue ones come first, then the others by their next recheck.
    """
    services = services_here()
    name = query.get("source")
    sources = list(services.config.sources) if name is None else [known_source(name)]
    position = position_of("watches", query, parts=3)
    state, kind = query.get("state"), query.get("kind")
    watches, counts, is_current = _listed(services, (tuple(sources), state, kind), position)
    try:
        rest: Iterable[Listed] = watch_registration.following(watches, position)
    except ValueError:
        refuse_cursor("is not a cursor of watches")
    if not is_current:
        rest = watch_registration.read_again(services, rest, state=state, kind=kind)
    page = page_of("watches", rest, query["limit"], lambda watch: watch.position, _shown)
    return page | {"total": len(watches), "counts": counts}


def _shown(watch: Listed) -> dict[str, Any]:
    return masked_watch(watch.row)


def masked_watch(row: dict[str, Any]) -> dict[str, Any]:
    """A watch; for callers who may not see persons, without label, reference, and an id with an e-mail address."""
    hidden = ("label", "reference", *(("id", "key") if "@" in row["key"] else ()))
    return mask_persons(row, *hidden)


def _listed(
    services: Services, asked: tuple[Sequence[str], str | None, str | None], position: Sequence[str] | None
) -> tuple[Sequence[Listed], Mapping[str, Mapping[str, int]], bool]:
    """All matching watches, the numbers of all, and whether they are up to date. `asked`: sources, state, kind.

    To sort them, all must be read: further pages are cut from the list of the first one for a while. A command keeps
    the watches, web only their places.
    """
    kept: dict[str, Any] = current_app.extensions.setdefault("bridge.watches", {})
    now = services.now()
    if kept and not kept["since"] <= now < kept["since"] + _KEPT_SECONDS:
        kept.clear()
    if position is not None and kept.get("asked") == asked:
        return kept["watches"], kept["counts"], is_local()
    sources, state, kind = asked
    every = watch_registration.listed(services, sources)
    counts = watch_registration.count(every)
    watches = [watch for watch in every if watch.matches(state, kind)]
    places = watches if is_local() else [watch._replace(expected=None, watch=None) for watch in watches]
    kept.update(asked=asked, since=now, watches=places, counts=counts)
    return watches, counts, True


@blueprint.route("", methods=["POST"])
@needs(OPERATOR)
@described(
    blueprint,
    "addWatch",
    *BODY_ERRORS,
    answers={201: {"links": {name: _ITSELF | {"operationId": name} for name in ("showWatch", "cancelWatch")}}},
)
@blueprint.arguments(NewWatch, example=_EXPECTED)
@blueprint.response(201, WatchRow, description="Registered")
def add_watch(document: Mapping[str, Any]) -> dict[str, Any]:
    """Expect an attempt

    The bridge rechecks it from `due` until `deadline`, publishes it with your label, and announces `attempt.overdue`
    if it has not come. Registering the same attempt again replaces its label and times.
    """
    services = services_here()
    now = services.now()
    try:
        (checked,) = watch_registration.check(services, [document], now=now)
        before = watch_registration.find(services, checked["id"])
        (row,) = watch_registration.register(services, [document], now=now)
    except ValidationError as error:
        messages: Any = error.messages
        refuse(422, "the watch was not registered", errors=messages[0])
    audited(_target(row), before=before and _times(before), after=_times(row))
    # Answer when every process knows the watch: a webhook a moment later already gets the label.
    gevent.sleep(KNOWN_AFTER_SECONDS)
    return row


@blueprint.route("/import", methods=["POST"])
@needs(OPERATOR)
@described(blueprint, "importWatches", *BODY_ERRORS)
@blueprint.arguments(NewWatches, example={"watches": [_EXPECTED], "dry_run": True})
@blueprint.response(200, Registered, description="Registered, or checked")
def import_watches(document: Mapping[str, Any]) -> dict[str, Any]:
    """Expect several attempts

    All are registered, or none if one of them is wrong. If one call cannot hold them all, check all of them with
    `dry_run` first. `csv` takes the text of a file instead.
    """
    services = services_here()
    work = watch_registration.check if document["dry_run"] else watch_registration.register
    given, lines = _from_csv(document) if "csv" in document else (document["watches"], None)
    try:
        rows = work(services, given, now=services.now())
    except ValidationError as error:
        _refuse_several(error.messages, lines)
    if document["dry_run"]:
        not_a_change()
    else:
        idents = list(dict.fromkeys(row["id"] for row in rows))
        done = [digest_of(ident) for ident in idents]
        audited(f"watches of {_sources(idents)}", after={"registered": len(done), "watches": done})
    return {"ids": [row["id"] for row in rows]}


def _from_csv(document: Mapping[str, Any]) -> tuple[list[Any], list[int]]:
    """The loaded documents of a CSV text, and the number of the line of each."""
    try:
        lines = read_lines(document["csv"])
    except NotCsv as error:
        refuse(422, f"line {error.line}: {error}", errors={"csv": {str(error.line): [str(error)]}})
    numbers = [line.number for line in lines]
    if not 1 <= len(lines) <= MAX_BATCH:
        problem = f"has {len(lines)} lines below the header. Give 1 to {MAX_BATCH}"
        refuse(422, f"the CSV text {problem}", errors={"csv": [problem]})
    try:
        loaded: list[Any] = NewWatch(many=True).load(
            [document_of(line.cells, document.get("source")) for line in lines]
        )
    except ValidationError as error:
        _refuse_several(error.messages, numbers)
    return loaded, numbers


def _refuse_several(messages: Any, lines: Sequence[int] | None) -> NoReturn:
    """Refuse with the position of each wrong document or, of a CSV text, with its line."""
    if lines is None:
        refuse(422, "nothing was registered", errors={"watches": messages})
    refuse(422, "nothing was registered", errors={"csv": {str(lines[place]): of for place, of in messages.items()}})


@blueprint.route("/cancel", methods=["POST"])
@needs(OPERATOR)
@described(blueprint, "cancelWatches", *BODY_ERRORS)
@blueprint.arguments(ToCancel, example={"source": "exams", "dry_run": True})
@blueprint.response(200, Cancelled, description="Cancelled, or counted")
def cancel_watches(document: Mapping[str, Any]) -> dict[str, Any]:
    """Stop watching several attempts

    Those with these ids, or all expected attempts of a source. No event is published for this.
    """
    services = services_here()
    if "source" in document:
        name = known_source(document["source"])
        idents = [watch_registration.watch_id(name, expected.key) for expected in services.expectations.list(name)]
    else:
        idents = list(dict.fromkeys(document["ids"]))
    if document["dry_run"]:
        unknown = [ident for ident in idents if "ids" in document and not watch_registration.find(services, ident)]
    else:
        unknown = watch_registration.cancel(services, idents)
    cancelled = len(idents) - len(unknown)
    if document["dry_run"] or not cancelled:
        not_a_change()
    else:
        done = [digest_of(ident) for ident in idents if ident not in set(unknown)]
        audited(f"watches of {_sources(idents)}", after={"cancelled": cancelled, "watches": done})
    return {"cancelled": cancelled, "unknown_ids": unknown}


@blueprint.route("/<ident>", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "showWatch", HTTPStatus.NOT_FOUND)
@blueprint.response(200, WatchRow, description="The watch")
def show_watch(ident: str) -> dict[str, Any]:
    """Show one watch

    404: there is no such watch; a watch whose attempt has come is gone.
    """
    row = watch_registration.find(services_here(), ident)
    if row is None:
        refuse(404, "unknown watch; it may be settled")
    return masked_watch(row)


@blueprint.route("/<ident>", methods=["DELETE"])
@needs(OPERATOR)
@described(blueprint, "cancelWatch", HTTPStatus.NOT_FOUND)
@blueprint.response(204, description="No longer watched")
def cancel_watch(ident: str) -> Response | None:
    """Stop watching an attempt

    No event is published for this. An attempt that comes later is still published, without a label.
    """
    before = watch_registration.find(services_here(), ident)
    if before is None or watch_registration.cancel(services_here(), [ident]):
        refuse(404, "unknown watch; it may be settled")
    audited(_target(before), before=_times(before))
    return None


def _target(row: Mapping[str, Any]) -> str:
    """How the audit names a watch: not by its id, which may contain an e-mail address."""
    return f"watch of {row['source']} {digest_of(row['id'])}"


def _times(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"due": row["due"], "deadline": row["deadline"]}


def _sources(idents: Sequence[str]) -> str:
    named = (watch_registration.parse_watch_id(ident) for ident in idents)
    return ", ".join(sorted({name[0] for name in named if name is not None}))
