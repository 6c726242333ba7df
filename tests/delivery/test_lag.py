"""The oldest event that each subscription still has to settle: of many at once what it is of each alone."""

from __future__ import annotations

import redis

from bridge.delivery.journal_groups import read_groups
from bridge.delivery.lag import oldest_unsettled, oldest_unsettled_at
from bridge.state import keys

NAMES = ["new", "behind", "level", "reading", "late"]


def test_the_oldest_unsettled_event_is_that_of_each_subscription_over_all_partitions(state: redis.Redis) -> None:
    for partition, moments in enumerate([(3000, 5000), (2000, 6000)]):
        for moment in moments:
            state.xadd(keys.journal(partition), {"id": "e"}, id=f"{moment}-0")
        for name, place in (
            ("behind", f"{moments[0]}-0"),
            ("level", f"{moments[1]}-0"),
            ("reading", "0"),
            ("late", f"{moments[partition == 0]}-0"),
        ):
            state.xgroup_create(keys.journal(partition), keys.group(name), id=place)
    for name in ("reading", "late"):
        state.xreadgroup(keys.group(name), "one", {keys.journal(1): ">"})

    oldest = oldest_unsettled(state, NAMES, read_groups(state, range(2)))

    assert oldest == {"new": 2.0, "behind": 5.0, "level": None, "reading": 2.0, "late": 6.0}
    assert oldest == {name: oldest_unsettled_at(state, name, partitions=2) for name in NAMES}
