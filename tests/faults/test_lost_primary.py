"""The primary is lost with what its replica does not have: nothing that was acknowledged goes with it.

Each way of waiting that looks right and is not loses acknowledged attempts in the same test.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
import redis

from bridge.config.model import Subscription
from bridge.errors import StateUnavailable
from bridge.journal import Journal
from bridge.state import keys
from bridge.state.client import state_client
from bridge.state.confirming_client import Confirmation, ConfirmingClient
from tests.support.dispatch import Receiver, lane, publish, run_until_idle
from tests.support.journal import NOW, entry
from tests.support.polling import START, Api, Sitting, journal, make_services, make_vendor
from tests.support.replicas import ReplicatedServer, replicated
from tests.support.servers import Server
from tests.support.waiting import until
from tests.support.web import journal_attempts
from tests.support.writers import WRITERS, Writers
from workers.dispatch.lane import Lane
from workers.dispatch.schedule import Limits
from workers.polling.poll import poll_once

pytestmark = pytest.mark.usefixtures("starts_servers")

CONFIRMATION = Confirmation(replicas=1, within=0.2)
Connect = Callable[[str], redis.Redis]


class WaitsElsewhere(ConfirmingClient):
    """A mutant: WAIT on whichever connection the pool gives."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        answer = self._plain.execute_command(*args, **options)
        with self._plain.client() as other, self._plain.client() as another:
            assert other.ping()
            self.require([True, cast("int", another.wait(1, 200))])
        return answer


class WaitsWithoutWriting(Confirmation):
    """A mutant: no mark, so that what writes nothing waits for nothing."""

    def commands(self, mark: str) -> list[tuple[Any, ...]]:
        return super().commands(mark)[1:]


class WaitsInTransaction(ConfirmingClient):
    """A mutant: WAIT before EXEC, where it answers at once with what is known of earlier writes."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        pipe: Any = self._plain.pipeline(transaction=False)
        for command in (("MULTI",), args, *self.confirming_commands(), ("EXEC",)):
            pipe.execute_command(*command)
        answer, *confirmed = pipe.execute()[-1]
        if isinstance(answer, redis.ResponseError):
            raise answer
        self.require(confirmed)
        return answer


def confirming(url: str) -> redis.Redis:
    return state_client(url, confirmation=CONFIRMATION)


def acknowledged_and_lost(
    directory: Path, connect: Connect, record: Callable[[str, object], None], *, lags: bool = True
) -> int:
    """Writers write until the primary is killed, whose replica lags or not; what the promoted replica lacks."""
    with replicated(directory) as servers:
        traffic = Writers(lambda: Journal(connect(servers.primary.url)))
        until(lambda: len(traffic.acknowledged) >= 50)
        if lags:
            servers.lag()
            before = len(traffic.acknowledged)
            until(lambda: len(traffic.refused) >= WRITERS or len(traffic.acknowledged) >= before + 50)
        servers.promote()
        traffic.stop()
        with servers.replica.client() as replica:
            kept = Counter(journal_attempts(replica))
            lost = {f"link:{number}" for number in traffic.acknowledged} - kept.keys()
            # What was refused is repeated, by whom it was refused: then all of it is there once.
            journal = Journal(replica)
            for number in sorted(traffic.refused | traffic.acknowledged):
                journal.publish(entry(number), now=NOW)
            doubled = {name for name, times in Counter(journal_attempts(replica)).items() if times > 1}
    record("faults", traffic.line(lost=len(lost)))
    assert not doubled
    return len(lost)


@pytest.mark.parametrize("lags", [False, True], ids=["replica follows", "replica lags"])
def test_nothing_acknowledged_is_lost_with_the_primary(
    tmp_path: Path, record_property: Callable[[str, object], None], lags: bool
) -> None:
    assert acknowledged_and_lost(tmp_path, confirming, record_property, lags=lags) == 0


@pytest.mark.parametrize(
    "connect",
    [
        state_client,
        lambda url: WaitsElsewhere(state_client(url), CONFIRMATION),
    ],
    ids=["no WAIT", "WAIT on another connection"],
)
def test_a_wrong_way_of_waiting_loses_what_was_acknowledged(
    tmp_path: Path, record_property: Callable[[str, object], None], connect: Connect
) -> None:
    assert acknowledged_and_lost(tmp_path, connect, record_property) > 0


def test_a_wait_before_exec_takes_for_confirmed_what_the_replica_lacks(tmp_path: Path) -> None:
    with replicated(tmp_path) as servers:
        servers.lag()
        client = WaitsInTransaction(state_client(servers.primary.url), CONFIRMATION)
        assert client.set("a", "1")
        servers.promote()
        with servers.replica.client() as replica:
            assert replica.get("a") is None


def test_with_two_replicas_only_what_both_confirmed_is_safe_whichever_takes_over(tmp_path: Path) -> None:
    with replicated(tmp_path) as servers:
        follow = ("--replicaof", f"127.0.0.1 {servers.primary.port}")
        with closing(Server(tmp_path / "second", *follow)) as second, second.client() as direct:
            until(lambda: second.replication().get("master_link_status") == "up")
            servers.lag()
            outcomes = []
            for replicas in (1, 2):
                confirmation = Confirmation(replicas=replicas, within=0.2)
                with state_client(servers.primary.url, confirmation=confirmation) as client:
                    outcomes.append(_outcome(lambda client=client: client.set("a", "1")))  # type: ignore[misc]
            servers.promote()
            with servers.replica.client() as promoted:
                assert (outcomes, promoted.get("a"), direct.get("a")) == (["True", "Unconfirmed"], None, b"1")


def _outcome(call: Callable[[], object]) -> str:
    try:
        return str(call())
    except redis.RedisError as error:
        return type(error).__name__


def test_a_repeat_that_finds_its_work_done_is_not_acknowledged_before_the_work_is_confirmed(tmp_path: Path) -> None:
    def outcomes(servers: ReplicatedServer, confirmation: Confirmation) -> list[str]:
        outcomes = []
        for _ in range(2):
            with ConfirmingClient(state_client(servers.primary.url), confirmation) as client:
                outcomes.append(_outcome(lambda client=client: client.sadd("set", confirmation.within)))  # type: ignore[misc]
        return outcomes

    with replicated(tmp_path) as servers:
        servers.lag()
        assert outcomes(servers, Confirmation(replicas=1, within=0.1)) == ["Unconfirmed", "Unconfirmed"]
        assert outcomes(servers, WaitsWithoutWriting(replicas=1, within=0.2)) == ["Unconfirmed", "0"]


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[ReplicatedServer]:
    with replicated(tmp_path / "servers") as servers:
        yield servers


def went_through(call: Callable[[], object], after_failure: Callable[[], object]) -> bool:
    """Whether the state was available all the time; on a busy machine a replica may be late."""
    try:
        call()
    except StateUnavailable:
        after_failure()
        return False
    return True


def test_dispatch_hands_on_nothing_that_the_replica_lacks(servers: ReplicatedServer) -> None:
    with confirming(servers.primary.url) as client:
        receiver = Receiver()
        with servers.primary.client() as plain:
            # All other steps of the lane go on: only what the group reads is confirmed.
            crm = Lane(
                Subscription(name="crm", transport="http"),
                0,
                transport=receiver,
                state=plain,
                blocking_client=client,
                consumer="one",
                limits=Limits(),
            )
            first = publish(plain, 0)
            until(lambda: went_through(lambda: run_until_idle(crm, 1.0), crm.recover))
            servers.lag()
            later = publish(plain, *range(1, 6))
            for _ in range(3):
                # First the entries are read and stay pending, then they are taken out of what is pending.
                with pytest.raises(StateUnavailable):
                    run_until_idle(crm, 2.0)
                crm.recover()
            assert receiver.ids == first
            assert plain.xpending(keys.journal(0), keys.group("crm"))["pending"] == 5
        servers.catch_up()
        until(lambda: went_through(lambda: run_until_idle(crm, 3.0), crm.recover))
        assert receiver.ids == [*first, *later]


def test_dispatch_without_waiting_hands_on_what_is_lost(servers: ReplicatedServer) -> None:
    with state_client(servers.primary.url) as client:
        receiver = Receiver()
        servers.lag()
        publish(client, *range(5))
        run_until_idle(lane(client, receiver), 1.0)
        assert len(receiver.ids) == 5


def test_a_cursor_stays_where_it_is_when_its_page_is_not_confirmed(servers: ReplicatedServer) -> None:
    moment = [START]
    api = Api(clock=lambda: moment[0], page_size=4)
    api.add(Sitting("0", START - 900))
    with confirming(servers.primary.url) as client:
        services = make_services(client, make_vendor(api), lambda: moment[0])
        until(
            lambda: went_through(
                lambda: poll_once(services, "eu-little"), lambda: client.delete(keys.lease("poll:eu-little"))
            )
        )
        before = services.cursors.position("eu-little", "results").cursor
        moment[0] += 600
        api.add(Sitting("1", moment[0] - 60))
        api.before = lambda number: servers.lag()
        with pytest.raises(StateUnavailable):
            poll_once(services, "eu-little")
        assert services.cursors.position("eu-little", "results").cursor == before
        servers.catch_up()
        api.before = lambda number: None
        moment[0] += 600
        with servers.primary.client() as plain:
            plain.delete(keys.lease("poll:eu-little"))
            until(
                lambda: went_through(
                    lambda: poll_once(services, "eu-little"), lambda: plain.delete(keys.lease("poll:eu-little"))
                )
            )
        assert services.cursors.position("eu-little", "results").cursor != before
        assert journal(client) == [("attempt.completed", "a:0"), ("attempt.completed", "a:1")]
