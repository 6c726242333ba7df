"""The description of the API against the running server: it is valid, and schemathesis finds no answer beside it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import web as support
from tests.support.servers import Server
from tests.support.web import API_TOKEN, Web

HEADER = f"Bearer {API_TOKEN}"
#: What is asked of every answer. A body that the schema allows may still name a source that does not exist, or be long.
SETTINGS = """
[phases.coverage]
unexpected-methods = ["PATCH"]

[checks.positive_data_acceptance]
expected-statuses = ["2xx", 304, 401, 404, 409, 413, 422]

[checks.negative_data_rejection]
expected-statuses = [400, 404, 405, 408, 411, 413, 414, 415, 422]
"""
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,negative_data_rejection,positive_data_acceptance,missing_required_header,"
    "unsupported_method,allow_header_conformance,use_after_free,ensure_resource_availability,ignored_auth"
)


def write_config(directory: Path, state: str, durability: str, *_: object) -> Path:
    """A bridge with the source `exams`, which the examples of the description name."""
    path = directory / "bridge.yaml"
    digest = hashlib.sha256(API_TOKEN.encode()).hexdigest()
    bridge = {"name": "acme", "public_url": "https://bridge.example.test", "state": state, "data_dir": "."}
    bridge["durability"] = yaml.safe_load(durability)
    source = {"vendor": "cirrus", "credentials": {"token": "t"}, "webhook": {"token": support.TOKEN}}
    document = {
        "demo": True,
        "bridge": bridge | {"broker": "redis://unused.invalid/9"},
        "sources": {"exams": source | {"base_url": "https://cirrus.example.test"}},
        "subscriptions": {"gradebook": {"transport": "celery", "task": "t", "queue": "q"}},
        "access": {"tokens": [{"name": "ops", "role": "operator", "sha256": digest}]},
    }
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture
def web(own_server: Server, starts_processes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setattr(support, "write_config", write_config)
    # The check that wrong tokens are refused sends more of them than one address may.
    limits = "from bridge.web.api import failures\nfailures.PER_ADDRESS = failures.OVERALL = 10**9\n"
    monkeypatch.setattr(support, "_PROGRAM", limits + support._PROGRAM)
    running = Web(tmp_path / "web", own_server.url)
    yield running
    running.close()


def description(web: Web) -> Any:
    answer = web.get("/api/v1/openapi.json", Authorization=HEADER)
    assert answer.status == 200
    return json.loads(answer.body)


def test_the_description_is_valid_and_names_servers_ids_errors_and_both_forms_of_a_deadline(web: Web) -> None:
    document = description(web)
    # Long to import, and needed here alone.
    from openapi_spec_validator import OpenAPIV31SpecValidator

    OpenAPIV31SpecValidator(document).validate()
    assert [server["url"] for server in document["servers"]] == ["https://bridge.example.test"]
    operations, methods = {}, {}
    for path in document["paths"].values():
        for method, operation in path.items():
            if method != "parameters":
                operations[operation["operationId"]], methods[operation["operationId"]] = operation, method.upper()
    shared, body = {"401", "429", "503"}, {"400", "408", "413", "415", "422"}
    by_method = {"GET": {"304", "403", "414"}, "POST": {"403", "409", "422"}, "DELETE": {"403"}}
    own_statuses = {name: set(operation["responses"]) - shared for name, operation in operations.items()}
    assert own_statuses.pop("openSession") == {"201", "403", *body}
    assert all(by_method[methods[name]] <= statuses for name, statuses in own_statuses.items())
    body -= by_method["POST"]
    assert {name: statuses - by_method[methods[name]] for name, statuses in own_statuses.items()} == {
        "showSession": {"200"},
        "closeSession": {"204"},
        "listFilterFields": {"200", "404"},
        "listAttempts": {"200", "422"},
        "showAttempt": {"200", "404", "422"},
        "listEvents": {"200", "422"},
        "showEvent": {"200", "404", "422"},
        "streamEvents": {"200", "422"},
        "listRequests": {"200", "422"},
        "showRequest": {"200", "404", "422"},
        "readRequest": {"200", "404", "422"},
        "reprocessRequest": {"200", "404"},
        "showStats": {"200", "422"},
        "listSources": {"200", "422"},
        "showSource": {"200", "404"},
        "pauseSource": {"200", "404"},
        "resumeSource": {"200", "404"},
        "pollSource": {"202", "404"},
        "listSubscriptions": {"200", "422"},
        "showSubscription": {"200", "404"},
        "pauseSubscription": {"200", "404"},
        "resumeSubscription": {"200", "404"},
        "forgetSubscription": {"200", "404", *body},
        "testSubscription": {"200", "404", "504"},
        "testSource": {"200", "202", "404"},
        "showSourceTest": {"200", "404"},
        "addBackfill": {"201", *body},
        "listBackfills": {"200", "422"},
        "showBackfill": {"200", "404"},
        "stopBackfill": {"200", "404"},
        "cancelBackfill": {"200", "404"},
        "resumeBackfill": {"200", "404"},
        "addReconciliation": {"201", *body},
        "listReconciliations": {"200", "422"},
        "showReconciliation": {"200", "404"},
        "stopReconciliation": {"200", "404"},
        "listWatches": {"200", "422"},
        "addWatch": {"201", *body},
        "importWatches": {"200", *body},
        "cancelWatches": {"200", *body},
        "showWatch": {"200", "404"},
        "cancelWatch": {"204", "404"},
        "listDeliveries": {"200", "422"},
        "showDelivery": {"200", "404"},
        "retryDelivery": {"200", "404"},
        "cancelDelivery": {"200", "404"},
        "confirmEvent": {"200", "404", *body},
        "confirmEvents": {"200", "404", *body},
        "listDeadLetters": {"200", "422"},
        "showDeadLetter": {"200", "404"},
        "discardDeadLetters": {"200", *body},
        "listQuarantine": {"200", "422"},
        "showQuarantined": {"200", "404"},
        "listFailureGroups": {"200", "422"},
        "showFailureGroup": {"200", "404"},
        "acknowledgeFailureGroup": {"200", "404"},
        "reopenFailureGroup": {"200", "404"},
        "discardFailureGroup": {"200", "404"},
        "addReplay": {"200", "201", "404", *body},
        "listReplays": {"200", "422"},
        "showReplay": {"200", "404"},
        "stopReplay": {"200", "404"},
        "resumeReplay": {"200", "404"},
        "abortReplay": {"200", "404"},
        "addErasure": {"201", *body},
        "listErasures": {"200", "422"},
        "showErasure": {"200", "404"},
        "showPartitions": {"200"},
        "changePartitions": {"200", *body},
        "stopPartitions": {"200"},
        "resumePartitions": {"200"},
        "showHealth": {"200", "422"},
        "showConfiguration": {"200"},
        "listAudit": {"200", "422"},
    }
    assert all(shared <= set(operation["responses"]) for operation in operations.values())
    for operation in operations.values():
        assert operation["summary"]
        assert operation["description"]
        is_login = operation["operationId"] == "openSession"
        assert operation["security"] == ([] if is_login else [{"token": []}, {"session": []}])
    deadline = document["components"]["schemas"]["NewWatch"]["properties"]["deadline"]
    assert [option.get("format") for option in deadline["anyOf"]] == ["date-time", "date", None]
    unused = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert [name for name in unused if json.dumps(document).count(f'"{name}"') == 0] == []


@pytest.mark.long
def test_schemathesis_finds_no_answer_that_the_description_does_not_name(web: Web, tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text(SETTINGS)
    address = f"http://127.0.0.1:{web.port}"
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(tmp_path / "settings.toml")),
        *("run", f"{address}/api/v1/openapi.json", "--url", address, "--header", f"Authorization: {HEADER}"),
        *("--checks", CHECKS, "--max-examples", "2", "--no-shrink", "--generation-allow-x00", "false"),
        # A stream has no end to wait for.
        *("--generation-deterministic", "--exclude-operation-id", "streamEvents"),
    ]
    # Hypothesis finds its tables of characters there; making them takes seconds. Each request reads all variables.
    environment = {"PATH": os.environ["PATH"], "HYPOTHESIS_STORAGE_DIRECTORY": str(support.ROOT / ".hypothesis")}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False, timeout=110
    )
    assert done.returncode == 0, re.sub(r"(?m)^(.{300}).*$", r"\1...", done.stdout)[-9000:] + done.stderr[-2000:]
    count = sum(method != "parameters" for path in description(web)["paths"].values() for method in path)
    assert f"Tested: {count - 1}\n" in done.stdout
    assert "Stateful (not applicable)" not in done.stdout
