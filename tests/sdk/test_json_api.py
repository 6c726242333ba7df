"""Calls to an API that answers in JSON: which error each answer becomes."""

from __future__ import annotations

import pytest

from bridge.errors import VendorFault, VendorRefused, VendorUnavailable
from bridge.sdk.json_api import key_in_header, rows_of
from tests.support.contract.wire import Facts, calls_over

FACTS = Facts(name="eu", credentials={"token": ("CANARY", "older")}, options={})


def api(status=200, body=b"{}", asked=None):
    def wire(method, path, headers, _body):
        if asked is not None:
            asked.append((method, path, headers["x-token"]))
        return status, {}, body

    return key_in_header("x-token", "token", prefix="Key ")(FACTS, calls_over(wire, FACTS, lambda: 7.0))


def test_a_call_has_the_first_credential_and_the_parameters():
    asked = []

    assert api(body=b'{"a": [1.5]}', asked=asked).get("results", {"since": 5, "q": "a b"})["a"] == [pytest.approx(1.5)]
    assert asked == [("GET", "/results?since=5&q=a+b", "Key CANARY")]
    assert api().now() == 7.0


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (401, b"", VendorRefused),
        (403, b"", VendorRefused),
        (400, b"", VendorFault),
        (404, b"", VendorFault),
        (500, b"", VendorUnavailable),
        (200, b"<html>", VendorUnavailable),
    ],
)
def test_every_other_answer_is_an_error_that_says_what_to_do(status, body, error):
    with pytest.raises(error) as raised:
        api(status, body).get("results/4711/parts", {"since": "CANARY"})

    assert "CANARY" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_is_not_there_yet_is_no_error_where_the_caller_says_so():
    assert api(404).get("results/4711", missing={"results": []}) == {"results": []}


@pytest.mark.parametrize("document", [None, [], "x", {"data": []}, {"data": {"items": {}}}])
def test_an_answer_without_its_list_is_not_an_empty_page(document):
    assert rows_of({"data": {"items": [1]}}, "data.items") == rows_of([1], "") == [1]

    with pytest.raises(VendorUnavailable):
        rows_of(document, "data.items")
