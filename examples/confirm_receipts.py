"""Confirms events over HTTP once they are processed: a decorator for Celery tasks and Flask views.

    @app.task(name="gradebook.attempt_completed")
    @confirms("gradebook")                       # the name of the subscription
    def attempt_completed(event): ...

    @web.post("/events")
    @confirms("gradebook")                       # the event is the body of the request
    def receive(): ...

A function that raises, and a view that answers an error, confirm nothing: the event comes again.
Environment: BRIDGE_URL (https://bridge.example.org), BRIDGE_TOKEN (a token of role receiver).
In bridge.yaml: receipts: {required: true} for celery and kombu; with http, the 2xx answer is already the receipt.
"""

import functools
import json
import logging
import os
import urllib.request


def confirms(subscription):
    def decorate(function):
        @functools.wraps(function)
        def confirmed(*args, **kwargs):
            result = function(*args, **kwargs)
            given = (value for value in (*args, *kwargs.values()) if isinstance(value, dict) and "specversion" in value)
            event = next(given, None)
            if event is None:
                from flask import make_response, request  # noqa: PLC0415 - a worker of Celery needs no Flask

                result, event = make_response(result), request.get_json(force=True)
                if result.status_code >= 300:
                    return result
            if event["type"] != "bridge.test":  # nobody waits for the receipt of a test
                confirm(subscription, event["id"])
            return result

        return confirmed

    return decorate


def confirm(subscription, event_id):
    body = json.dumps({"subscription": subscription, "event_id": event_id}).encode()
    headers = {"Authorization": f"Bearer {os.environ['BRIDGE_TOKEN']}", "Content-Type": "application/json"}
    call = urllib.request.Request(f"{os.environ['BRIDGE_URL']}/api/v1/receipts", body, headers)
    try:
        urllib.request.urlopen(call, timeout=10).close()
    except OSError as error:  # the work is done; the event comes once more, and its copy is confirmed
        logging.getLogger(__name__).warning("%s not confirmed: %s", event_id, error)
