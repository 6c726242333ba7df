"""The layout of the state: what has an old name is renamed, once, whoever is killed; a newer layout is refused."""

from __future__ import annotations

import json
import re
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import redis

from bridge import __version__
from bridge.errors import ConfigError, StateUnavailable
from bridge.state import access_keys, delivery_keys, keys
from bridge.state.layout import LAYOUT, LAYOUTS, new_name, require_layout, stored_layout
from bridge.state.running import RunningProcesses
from bridge.state.upgrade import Upgrade, make_current, register, unready
from tests.support.one_slot import SeveralSlots, one_slot_each
from tests.support.servers import Server

NOW = 1_800_000_000.0
#: Every name of layout 1 whose key has another name now, of one source, one subscription and two partitions.
RENAMED = {
    "ab:retry:crm": "ab:{0}:retry:crm",
    "ab:retry:crm:{1}": "ab:{1}:retry:crm",
    "ab:dead:crm": "ab:{0}:dead:crm",
    "ab:dead:crm:{1}": "ab:{1}:dead:crm",
    "ab:deliveries:crm": "ab:{0}:deliveries:crm",
    "ab:deliveries:crm:{1}": "ab:{1}:deliveries:crm",
    "ab:deliveries:crm:claims": "ab:{0}:claims:crm",
    "ab:deliveries:crm:{1}:claims": "ab:{1}:claims:crm",
    "ab:deliveries:crm:state": "ab:{0}:state:crm",
    "ab:deliveries:crm:{1}:state": "ab:{1}:state:crm",
    "ab:deliveries:crm:pauses": "ab:{0}:pauses:crm",
    "ab:cursor:eu": "ab:{eu}:cursors",
    "ab:cursor:eu:history": "ab:{eu}:rounds",
    "ab:cursor:eu:link:402217": "ab:{eu}:cursor:link:402217",
    "ab:budget:eu": "ab:{eu}:budget",
    "ab:budget:eu:paused": "ab:{eu}:budget:paused",
    "ab:budget:eu:learned": "ab:{eu}:budget:learned",
    "ab:clock:eu": "ab:{eu}:clock",
    "ab:watch:eu": "ab:{eu}:watch",
    "ab:watch:eu:due": "ab:{eu}:watch:due",
    "ab:watch:eu:pointers": "ab:{eu}:watch:pointers",
    "ab:watch:eu:rereads": "ab:{eu}:watch:rereads",
    "ab:watch:eu:version": "ab:{eu}:watch:version",
    "ab:watch:eu:expected": "ab:{eu}:watch:expected",
    "ab:watch:eu:spellings": "ab:{eu}:watch:spellings",
    "ab:watch:eu:deadlines": "ab:{eu}:watch:deadlines",
    "ab:generations:eu": "ab:{eu}:sittings",
    "ab:consent:eu": "ab:{eu}:consent",
    "ab:consent:eu:cand:8841": "ab:{eu}:consent:cand:8841",
    "ab:alarm:eu": "ab:{eu}:alarms",
    "ab:alarm:eu:rhythm": "ab:{eu}:rhythm",
    "ab:reconciled:eu": "ab:{eu}:reconciled",
    "ab:reconciled:eu:failed": "ab:{eu}:reconciled:failed",
    "ab:stuck:eu": "ab:{eu}:stuck",
    "ab:vendor:eu:tests": "ab:{eu}:vendor:tests",
    "ab:backfills": "ab:{backfills}:jobs",
    "ab:backfills:wishes": "ab:{backfills}:requests",
}
#: Some names that both layouts have.
KEPT = (keys.BRIDGE, "ab:{0}:journal", "ab:{1}:seen:17", "ab:{0}:tries:crm", "ab:audit", "ab:lease:poll:eu")


class Killed(BaseException):
    """The process ends here."""


class Dying(redis.Redis):
    """A client that ends its process before its nth call."""

    def __init__(self, client: redis.Redis, nth: int) -> None:
        super().__init__(connection_pool=client.connection_pool)
        self._calls, self._nth = count(1), nth

    def execute_command(self, *args: Any, **options: Any) -> Any:
        if next(self._calls) == self._nth:
            raise Killed
        return super().execute_command(*args, **options)


@pytest.fixture
def old(server: Server, state: redis.Redis) -> redis.Redis:
    """A state of layout 1, which is never on a cluster, that holds every key once; each value is its old name."""
    state.hset(keys.BRIDGE, mapping={"name": "acme", "partitions": "2"})
    for name in (*RENAMED, *KEPT[1:]):
        state.set(name, name)
    return state


def holdings(client: redis.Redis) -> dict[str, str]:
    names = {name.decode() for name in client.scan_iter("ab:*")} - {keys.BRIDGE, keys.lease("layout")}
    return {name: client.get(name).decode() for name in names}  # type: ignore[union-attr]


def upgraded() -> dict[str, str]:
    return {new: old for old, new in RENAMED.items()} | {name: name for name in KEPT[1:]}


def test_every_key_of_layout_1_has_its_new_name_and_a_start_gives_it(old: redis.Redis) -> None:
    assert {name: new_name(name) for name in RENAMED} == RENAMED
    assert [new_name(name) for name in KEPT] == [None] * len(KEPT)
    make_current(old, "web:1", NOW)
    assert holdings(old) == upgraded()
    assert stored_layout(old) == 2
    # Once more does nothing.
    make_current(old, "web:1", NOW)
    assert holdings(old) == upgraded()


def test_a_new_name_is_that_of_no_other_key_and_no_old_name() -> None:
    assert len(set(RENAMED.values())) == len(RENAMED)
    assert [new_name(name) for name in RENAMED.values()] == [None] * len(RENAMED)


def test_whoever_is_killed_in_an_upgrade_is_continued(old: redis.Redis) -> None:
    died = 0
    for nth in count(2):
        old.delete(keys.lease("layout"))
        try:
            make_current(Dying(old, nth), f"web:{nth}", NOW)
        except Killed:
            died += 1
            continue
        break
    assert died > 3
    assert (holdings(old), stored_layout(old)) == (upgraded(), 2)


def test_an_upgrade_waits_for_processes_of_the_earlier_version(old: redis.Redis) -> None:
    old.set(keys.heartbeat("worker"), "1", ex=30)
    with pytest.raises(StateUnavailable, match=re.escape("when these have ended: worker (an earlier version)")):
        make_current(old, "web:1", NOW)
    assert old.exists("ab:retry:crm")
    old.delete(keys.heartbeat("worker"))
    make_current(old, "web:1", NOW)
    assert not old.exists("ab:retry:crm")


def entry(client: redis.Redis, process: str, age: float = 0.0, **members: object) -> None:
    """A process of some version in the register."""
    stored = {"digest": "d", "loaded_at": NOW - age, "seen_at": NOW - age, **members}
    client.hset(keys.configurations(), f"running:{process}", json.dumps(stored))


def test_an_upgrade_waits_for_every_process_that_cannot_work_with_the_new_layout(old: redis.Redis) -> None:
    # One from before the register had versions, one of a version that knows both layouts, one that has ended.
    entry(old, "web:a:1")
    entry(old, "dispatch:b:2", version="0.9.0", layouts=[1, LAYOUTS[0]])
    entry(old, "worker:b:3", age=16.0, version="0.8.0", layouts=[1])
    # Its part's heartbeat is that of a process which is in the register.
    old.set(keys.heartbeat("dispatch"), "1", ex=30)
    assert unready(old, LAYOUTS[0], NOW) == ["web:a:1 (an earlier version, layout 1)"]
    with pytest.raises(StateUnavailable, match="when these have ended: web:a:1 "):
        make_current(old, "beat:c:4", NOW)
    assert (stored_layout(old), old.exists("ab:retry:crm"), old.exists(keys.lease("layout"))) == (1, 1, 0)
    # Nobody renews the entry of a process that was killed.
    entry(old, "dispatch:b:2", age=-16.0, version="0.9.0", layouts=[1, LAYOUTS[0]])
    make_current(old, "beat:c:4", NOW + 16.0)
    assert stored_layout(old) == LAYOUTS[0]


def test_a_layout_is_not_raised_while_one_process_does_not_speak_it(state: redis.Redis) -> None:
    state.hset(keys.BRIDGE, mapping={"name": "acme", "layout": "2"})
    register(state, "web:a:1", "d", NOW)
    assert unready(state, LAYOUTS[-1], NOW) == []
    entry(state, "worker:a:2", version="0.1.0", layouts=[2])
    entry(state, "beat:a:3")
    assert unready(state, LAYOUTS[-1], NOW) == [
        "beat:a:3 (an earlier version, layout 2)",
        "worker:a:2 (0.1.0, layout 2)",
    ]


def test_a_process_that_starts_while_another_one_upgrades_waits_and_is_in_no_register(state: redis.Redis) -> None:
    state.hset(keys.BRIDGE, mapping={"name": "acme", "layout": str(LAYOUTS[0])})
    state.set(keys.lease("layout"), "beat:2", px=30_000)
    with pytest.raises(StateUnavailable, match="another process is upgrading it"):
        register(state, "web:a:1", "d", NOW)
    state.delete(keys.lease("layout"))
    state.hset(keys.BRIDGE, "layout", str(LAYOUT + 1))
    with pytest.raises(ConfigError, match=f"has layout {LAYOUT + 1}"):
        register(state, "web:a:1", "d", NOW)
    assert RunningProcesses(state).read(NOW) == []
    state.hset(keys.BRIDGE, "layout", str(LAYOUTS[0]))
    register(state, "web:a:1", "d", NOW)
    (running,) = RunningProcesses(state).read(NOW)
    assert (running.process, running.version, running.layouts) == ("web:a:1", __version__, LAYOUTS)


def test_an_upgrade_takes_its_lease_before_it_reads_the_register(old: redis.Redis) -> None:
    seen: list[bool] = []

    class Watching(redis.Redis):
        def hgetall(self, name: str) -> object:  # type: ignore[override]
            seen.append(bool(old.exists(keys.lease("layout"))))
            return super().hgetall(name)

    with Watching(connection_pool=old.connection_pool) as client:
        make_current(client, "web:1", NOW)
    assert seen == [True]


def test_two_processes_do_not_upgrade_at_the_same_time(old: redis.Redis) -> None:
    old.set(keys.lease("layout"), "beat:2", px=30_000)
    with pytest.raises(StateUnavailable, match="another process is upgrading it"):
        make_current(old, "web:1", NOW)
    assert Upgrade(old, "beat:2").run(NOW) == len(RENAMED)


def test_what_an_earlier_version_wrote_after_the_upgrade_began_is_not_overwritten(old: redis.Redis) -> None:
    old.set("ab:{0}:retry:crm", "newer")
    with pytest.raises(ConfigError, match=re.escape("both ab:retry:crm and ab:{0}:retry:crm")):
        make_current(old, "web:1", NOW)
    assert (old.get("ab:retry:crm"), old.get("ab:{0}:retry:crm"), stored_layout(old)) == (b"ab:retry:crm", b"newer", 1)


def test_a_newer_layout_is_refused_and_a_new_state_gets_ours(state: redis.Redis) -> None:
    require_layout(state)
    make_current(state, "web:1", NOW)
    assert stored_layout(state) == LAYOUT
    require_layout(state)
    state.hset(keys.BRIDGE, "layout", str(LAYOUT + 1))
    for refuses in (lambda: require_layout(state), lambda: make_current(state, "web:1", NOW)):
        with pytest.raises(
            ConfigError, match=f"has layout {LAYOUT + 1}, this version works with layouts 2 and {LAYOUT}"
        ):
            refuses()


def test_commands_refuse_a_state_that_is_not_upgraded(old: redis.Redis) -> None:
    with pytest.raises(ConfigError, match="Remedy: `attempt-bridge state upgrade`"):
        require_layout(old)


def test_a_script_of_keys_with_several_hash_tags_fails_in_the_tests(state: redis.Redis) -> None:
    script = state.register_script("return 1")
    with one_slot_each():
        assert script(keys=[keys.journal(0), keys.retry("crm", 0)]) == 1
        with pytest.raises(SeveralSlots):
            script(keys=[keys.journal(0), keys.retry("crm", 1)])
        pipe = state.pipeline(transaction=True)
        pipe.set(keys.budget("eu"), 1)
        pipe.set(keys.watch("eu"), 1)
        pipe.execute()
        pipe.delete(keys.budget("eu"), keys.budget("us"))
        with pytest.raises(SeveralSlots):
            pipe.execute()


@pytest.mark.parametrize("module", [keys, delivery_keys, access_keys], ids=lambda module: module.__name__)
def test_no_word_is_used_for_a_source_and_for_a_partition(module: Any) -> None:
    text = Path(module.__file__).read_text()
    of_source = set(re.findall(r"ab:\{\{\{source\}\}\}:(\w+)", text))
    of_others = set(re.findall(r"ab:(?:\{\{\{partition\}\}\}|\{\{?\w+\}?\}):(\w+)", text))
    assert not of_source & of_others
