"""A FastAPI router for an http subscription."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any, Callable, Union

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from attempt_bridge_client.errors import EventRejected
from attempt_bridge_client.events import Event
from attempt_bridge_client.signature import TOLERANCE, Verifier

__all__ = ["event_router"]


def event_router(
    handler: Callable[[Event], Any],
    secrets: Union[str, Iterable[str]],
    path: str = "/events",
    *,
    tests: bool = False,
    tolerance: float = TOLERANCE,
) -> APIRouter:
    """A router whose POST `path` verifies a request and calls `handler(event)`, for `app.include_router`.

    The handler may be a coroutine function; any other runs in a thread. Answers, `tests` and `tolerance` as in
    `event_view` of `attempt_bridge_client.flask_view`. Raises `ConfigurationError` for wrong secrets.
    """
    verifier, router = Verifier(secrets, tolerance=tolerance), APIRouter()

    async def receive_event(request: Request) -> Response:
        try:
            event = verifier.verify(await request.body(), request.headers)
        except EventRejected as error:
            return Response(error.reason, error.status)
        if not tests and event.bridgetest:
            return Response(status_code=204)
        if inspect.iscoroutinefunction(handler):
            await handler(event)
        else:
            await run_in_threadpool(handler, event)
        return Response(status_code=204)

    router.add_api_route(path, receive_event, methods=["POST"], response_model=None, status_code=204)
    return router
