"""Text that no event can hold is refused by the API and in CSV files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.support.watches_api import LINK

ADDRESS = "/api/v1/watches"


@pytest.mark.parametrize("text", ["\\ud800", "a\\u0000", "\\u0007", "\\u001b[2J"])
@pytest.mark.parametrize("member", ["label", "value", "name", "source"])
def test_the_api_refuses_it_wherever_it_stands(api: FlaskClient, services: Any, text: str, member: str) -> None:
    document: dict[str, Any] = json.loads(json.dumps(LINK))
    if member == "value":
        document["reference"]["result"] = "MARK"
    elif member == "name":
        document["reference"]["MARK"] = "7"
    else:
        document[member] = "MARK"
    body = json.dumps(document).replace("MARK", text).encode()
    answer = api.post(ADDRESS, data=body, content_type="application/json")
    assert answer.status_code in (400, 422)
    assert answer.mimetype == "application/problem+json"
    assert services.expectations.list("eu") == ()


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 990,
        b"[" * 100_000,
        b'{"label": NaN}',
        b'{"label": "a", "label": "b"}',
        b'{"label": ' + b"9" * 5000 + b"}",
        b"\xff",
        b"{",
    ],
)
def test_the_api_reads_as_strictly_as_a_webhook(api: FlaskClient, body: bytes) -> None:
    answer = api.post(ADDRESS, data=body, content_type="application/json")
    assert answer.status_code == 400
    assert answer.json["detail"]


def test_the_api_takes_no_body_of_more_than_256_kb(api: FlaskClient) -> None:
    body = b'"' + b"a" * 256 * 1024 + b'"'
    assert api.post(ADDRESS, data=body, content_type="application/json").status_code == 413
    assert api.post(ADDRESS, data=b"", content_type="application/json").status_code == 422
    assert api.post(ADDRESS, data=b"1", content_type="application/json").status_code == 422


@pytest.mark.parametrize(
    "path", ["?source=%00", "?source=%ED%A0%80", "?state=%00", "?limit=" + "9" * 5000, "/%ED%A0%80", "/%00"]
)
def test_odd_addresses_get_an_answer_of_the_usual_shape(api: FlaskClient, path: str) -> None:
    answer = api.get(ADDRESS + path)
    assert answer.status_code in (404, 422)
    assert answer.json["detail"]


@pytest.mark.parametrize(
    ("cell", "problem"),
    [("a\x00b", "NUL"), ("\x1b[2J", "control character (U+001B)"), ("x" * 200_000, "field larger than field limit")],
)
@pytest.mark.parametrize("column", ["label", "result"])
def test_a_csv_file_is_refused_with_its_line(run: Any, tmp_path: Path, cell: str, problem: str, column: str) -> None:
    file = tmp_path / "expected.csv"
    cells = {"stream": "link", "result": "7", "label": "HR"}
    file.write_text("stream,result,label\nlink,8,ok\n" + ",".join((cells | {column: cell}).values()) + "\n")
    said = run("import", file, "--source", "eu")
    assert said.exit_code == 1
    assert f"{file}:3: " in said.stderr
    assert problem in said.stderr
    assert "nothing was registered" in said.stderr
    assert json.loads(run("list", "-o", "json").stdout) == []
