"""`partitions`: shown, changed, stopped and resumed; what would lose something is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from bridge.services import Services
from bridge.state import keys
from bridge.state.repartition import Repartition
from bridge.state.running import RunningProcesses
from bridge.web import create_app
from tests.support.journal import make_submission, outcomes
from tests.support.watches_api import OpenGate
from workers.dispatch.repartition import RepartitionRunner


@pytest.fixture
def served(services: Services) -> Services:
    """A bridge whose processes serve four partitions, over a state of one."""
    services.state.hset(keys.BRIDGE, mapping={"name": services.config.bridge.name, "partitions": "1", "layout": "3"})
    config = replace(services.config, bridge=replace(services.config.bridge, partitions=4))
    return replace(services, config=config)


@pytest.fixture
def calls(served: Services, api: FlaskClient) -> FlaskClient:
    made = create_app(served, gate=OpenGate()).test_client()  # type: ignore[arg-type]
    made.environ_base = api.environ_base
    return made


def test_a_change_is_made_moved_on_and_shown(served: Services, calls: FlaskClient) -> None:
    outcomes(served.journal, *(make_submission(f"link:{number}") for number in range(100)))
    assert calls.get("/api/v1/partitions").json["state"] == "never"
    made = calls.post("/api/v1/partitions", json={"partitions": 3}).json
    assert (made["partitions"], made["before"], made["served"], made["state"]) == (3, 1, 4, "running")
    assert calls.post("/api/v1/partitions", json={"partitions": 2}).status_code == 409
    assert calls.post("/api/v1/partitions/stop").json["state"] == "stopped"
    assert calls.post("/api/v1/partitions/stop").status_code == 409
    assert calls.post("/api/v1/partitions/resume").json["state"] == "running"
    runner = RepartitionRunner(served, "one")
    while runner.step(served.now) == 0.0:
        pass
    row = calls.get("/api/v1/partitions").json
    assert (row["state"], row["before"], row["progress"]) == ("done", None, 1.0)
    assert sum(each["remembered"] for each in row["rows"]) == 100
    assert [each["events"] for each in row["rows"]] == [100, 0, 0, 0]
    assert row["moved"] == sum(each["remembered"] for each in row["rows"][1:])
    changes = calls.get("/api/v1/audit").json["audit"]
    assert [entry["action"] for entry in changes][:3] == ["resumePartitions", "stopPartitions", "changePartitions"]


def test_what_no_process_could_serve_is_refused(served: Services, calls: FlaskClient) -> None:
    answer = calls.post("/api/v1/partitions", json={"partitions": 5})
    assert (answer.status_code, "Set bridge.partitions: 5" in answer.json["detail"]) == (409, True)
    RunningProcesses(served.state).report("worker:a:1", "other", served.now(), served.now())
    answer = calls.post("/api/v1/partitions", json={"partitions": 4})
    assert (answer.status_code, answer.json["detail"].startswith("worker:a:1 runs with another")) == (409, True)
    RunningProcesses(served.state).leave("worker:a:1")
    of_earlier = {"digest": served.config.digest, "loaded_at": served.now(), "seen_at": served.now(), "layouts": [2]}
    served.state.hset(keys.configurations(), "running:web:a:1", json.dumps(of_earlier))
    answer = calls.post("/api/v1/partitions", json={"partitions": 4})
    assert (answer.status_code, "web:a:1 of an earlier version" in answer.json["detail"]) == (409, True)
    served.state.hdel(keys.configurations(), "running:web:a:1")
    assert calls.post("/api/v1/partitions", json={"partitions": 1}).status_code == 409
    assert Repartition(served.state, configured=4).read().state == "never"


def test_a_state_of_layout_2_gets_layout_3_by_a_change_to_its_own_number(served: Services, calls: FlaskClient) -> None:
    served.state.hset(keys.BRIDGE, "layout", "2")
    assert calls.post("/api/v1/partitions", json={"partitions": 1}).status_code == 200
    assert served.state.hget(keys.BRIDGE, "layout") == b"3"
