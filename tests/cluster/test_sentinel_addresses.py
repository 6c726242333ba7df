"""Real servers and sentinels with passwords: one line from doctor for whatever is wrong with the address."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bridge.config import loader
from bridge.errors import StateUnavailable
from bridge.monitoring.doctor import examine
from bridge.monitoring.server_checks import FAILURE, OK, Finding
from bridge.registry import vendors
from bridge.services import Services, clients_of
from bridge.settings import Settings
from bridge.state.client import state_client
from bridge.state.errors import state_errors
from tests.support.sentinel import MASTER, SentinelGroup

SERVERS, SENTINELS = "hunter2", "s3ntinel"
RIGHT = (f":{SERVERS}@", f"?sentinel_password={SENTINELS}")

Examined = Callable[[str, str], dict[str, Finding]]


@pytest.fixture(scope="module")
def group(starts_servers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelGroup]:
    """Servers and sentinels with a password each."""
    group = SentinelGroup(tmp_path_factory.mktemp("group"), password=SERVERS)
    group.lock_sentinels(SENTINELS)
    yield group
    group.close()


@pytest.fixture
def examined(tmp_path: Path) -> Examined:
    """What doctor finds for this state and broker."""
    (tmp_path / "bridge.yaml").write_text("demo: true\nbridge: {name: acme}\n")
    config = loader.read(tmp_path / "bridge.yaml", vendors=vendors(), environment={})

    def examine_both(state: str, broker: str) -> dict[str, Finding]:
        services = Services(
            settings=Settings(),
            config=config,
            vendors=vendors(),
            state_url=state,
            broker_url=broker,
            clients=clients_of(state),
        )
        return {finding.name: finding for finding in examine(services)}

    return examine_both


def address(group: SentinelGroup, database: int, before: str = RIGHT[0], after: str = RIGHT[1]) -> str:
    return group.address(database, credentials=before) + after


def test_doctor_names_the_primary_and_its_replicas_of_state_and_broker(
    group: SentinelGroup, examined: Examined
) -> None:
    findings = examined(address(group, 0), address(group, 1))
    for what in ("primary", "sentinels", "replicas"):
        assert findings[f"{what} of the state server"].status == OK, findings[f"{what} of the state server"]
        # They are the same: once is enough.
        assert f"{what} of the broker of the bridge" not in findings
    assert f"127.0.0.1:{group.servers[0].port}, named by 3 of 3" in findings["primary of the state server"].text
    assert f"127.0.0.1:{group.servers[2].port}" in findings["replicas of the state server"].text
    assert findings["state server"].status == findings["broker of the bridge"].status == OK
    assert "hunter2" not in str(findings)
    assert "s3ntinel" not in str(findings)


@pytest.mark.parametrize(
    ("before", "after", "name"),
    [
        (RIGHT[0], "", "sentinel 127.0.0.1:{sentinel}"),
        (RIGHT[0], "?sentinel_password=wrong", "sentinel 127.0.0.1:{sentinel}"),
        ("", RIGHT[1], "state server"),
        (":wrong@", RIGHT[1], "state server"),
    ],
)
def test_a_wrong_password_is_named_with_who_refuses_it(
    group: SentinelGroup, examined: Examined, before: str, after: str, name: str
) -> None:
    finding = examined(address(group, 0, before, after), "redis://127.0.0.1:1/1")[
        name.format(sentinel=group.sentinels[0].port)
    ]
    assert (finding.status, finding.text) == (FAILURE, "it refuses the user name or password")
    assert ("sentinel_password" in finding.remedy) is name.startswith("sentinel")


def test_a_name_that_no_sentinel_knows_is_a_line_of_each_and_not_a_time_out(
    group: SentinelGroup, examined: Examined
) -> None:
    wrong = address(group, 0).replace(f"/{MASTER}/", "/other/")
    findings = examined(wrong, wrong.replace("/other/0", "/other/1"))
    for sentinel in group.sentinels:
        assert findings[f"sentinel 127.0.0.1:{sentinel.port}"].text == f'has no primary "other", it watches "{MASTER}"'
    assert findings["state server"].unreachable
    assert 'a sentinel has no primary "other"' in findings["state server"].text
    assert findings["broker of the bridge"].text == "no sentinel names a running primary"
    with pytest.raises(StateUnavailable) as caught, state_errors(), state_client(wrong) as client:
        client.get("x")
    assert 'state server: MasterNotFoundError: a sentinel has no primary "other"; run' in str(caught.value)


def test_no_sentinel_that_answers_is_one_line(examined: Examined) -> None:
    nobody = "redis+sentinel://127.0.0.1:1,127.0.0.1:2/mymaster/"
    findings = examined(f"{nobody}0", f"{nobody}1")
    finding = findings["sentinels of the state server"]
    assert finding.unreachable
    assert finding.text == "none of 2 answers: 127.0.0.1:1: connection refused"
    assert findings["state server"].unreachable
    assert findings["broker of the bridge"].unreachable
