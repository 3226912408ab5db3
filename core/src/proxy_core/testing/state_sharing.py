"""Contract tests for processes that use one store at the same time: permits, and agreement in the end."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Mapping
from datetime import date
from typing import TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy_core.interfaces import PermitRequest, UsageRow
from proxy_core.testing.state_peer import Peer, StateFixtures, count, shared

DAY = date(2026, 3, 2)
V = TypeVar("V")

_examples = itertools.count()
_names = st.sampled_from("xyz")
#: The process that syncs, its values and counts, its prompt tokens by model, and whether the response is lost.
_Step = tuple[int, dict[str, bytes | None], dict[str, int], list[tuple[str, int]], bool]
_steps: st.SearchStrategy[list[_Step]] = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.dictionaries(_names, st.one_of(st.none(), st.binary(max_size=4)), max_size=2),
        st.dictionaries(_names, st.integers(-3, 9), max_size=2),
        st.lists(st.tuples(_names, st.integers(0, 99)), max_size=2),
        st.booleans(),
    ),
    max_size=16,
)


async def permit(peer: Peer, want: int, limit: int = 4, used: int = 0) -> int:
    """The permits that ``peer`` is granted."""
    return (await peer.sync(permits={"k": PermitRequest(want=want, limit=limit, used=used)})).held["k"]


def of_run(run: str, known: Mapping[str, V]) -> dict[str, V]:
    return {name: value for name, value in known.items() if name.startswith(run)}


class SharingContract(StateFixtures):
    # --- permits

    async def test_permits_are_shared_and_given_back(self, ann: Peer, bob: Peer) -> None:
        assert await permit(ann, 2) == 2
        assert await permit(bob, 3) == 2
        assert await permit(ann, 0) == 0
        assert await permit(bob, 3) == 3
        assert await permit(bob, 1) == 1
        assert await permit(ann, 3) == 3

    async def test_claims_have_nothing_to_do_with_each_other(self, ann: Peer, bob: Peer) -> None:
        pull = await ann.sync(permits={"a": PermitRequest(want=2, limit=2), "b": PermitRequest(want=1, limit=5)})
        assert pull.held == {"a": 2, "b": 1}
        assert (
            await bob.sync(permits={"a": PermitRequest(want=1, limit=2), "b": PermitRequest(want=4, limit=5)})
        ).held == {
            "a": 0,
            "b": 4,
        }
        assert (await ann.sync()).held == {}

    async def test_a_claim_that_is_not_named_stays(self, ann: Peer, bob: Peer) -> None:
        await permit(ann, 4)
        await ann.sync()
        await ann.sync(counts={"c": count(1)})
        assert await permit(bob, 4) == 0

    async def test_one_that_holds_more_than_its_share_gives_it_up_to_one_that_lacks(self, ann: Peer, bob: Peer) -> None:
        assert await permit(ann, 9) == 4
        assert await permit(bob, 1) == 0
        assert await permit(ann, 9) == 3
        assert await permit(bob, 9) == 1
        assert await permit(ann, 9) == 2
        assert [await permit(bob, 9), await permit(ann, 9), await permit(bob, 9)] == [2, 2, 2]

    async def test_with_fewer_permits_than_holders_who_came_first_keeps_them(self, peers: list[Peer]) -> None:
        assert [await permit(peer, 1, limit=2) for peer in (*peers, *peers)] == [1, 1, 0, 0] * 2
        await permit(peers[0], 0, limit=2)
        assert [await permit(peer, 1, limit=2) for peer in reversed(peers)] == [1, 0, 1, 0]

    async def test_what_is_in_use_is_nobody_elses(self, ann: Peer, bob: Peer) -> None:
        assert await permit(ann, 4) == 4
        assert await permit(bob, 2) == 0
        assert await permit(ann, 4, used=4) == 2
        assert await permit(bob, 2) == 0
        assert await permit(ann, 4, used=3) == 2
        assert await permit(bob, 2) == 1
        assert await permit(ann, 0, used=3) == 0
        assert await permit(bob, 4) == 1
        assert await permit(ann, 0) == 0
        assert await permit(bob, 4) == 4

    async def test_a_lower_limit_is_reached_as_holders_come_by(self, ann: Peer, bob: Peer) -> None:
        assert await permit(ann, 4) == 4
        assert await permit(bob, 1, limit=1) == 0
        assert await permit(ann, 4, limit=1) == 1
        assert await permit(bob, 1, limit=0) == 0

    async def test_a_silent_holder_loses_its_permits(self, ann: Peer, bob: Peer) -> None:
        ann.lives_s = self.short_s
        await permit(ann, 4)
        assert await permit(bob, 3) == 0
        await asyncio.sleep(self.short_s * 1.6)
        assert await permit(bob, 3) == 3
        assert await permit(ann, 4, used=4) == 1

    async def test_a_holder_that_is_heard_of_keeps_its_permits(self, ann: Peer, bob: Peer) -> None:
        ann.lives_s = self.short_s * 4  # so that a busy machine does not make it silent
        await permit(ann, 4)
        for _ in range(6):
            await asyncio.sleep(self.short_s)
            await ann.sync()
        assert await permit(bob, 2) == 0

    async def test_the_living_are_counted(self, ann: Peer, bob: Peer) -> None:
        ann.lives_s = self.short_s
        assert (await ann.sync()).holders == 1
        assert (await bob.sync()).holders == 2
        await asyncio.sleep(self.short_s * 1.6)
        assert (await bob.sync()).holders == 1
        assert (await ann.sync()).holders == 2
        assert (await bob.sync()).holders == 2

    async def test_permits_in_use_never_exceed_the_limit(self, peers: list[Peer]) -> None:
        dice = random.Random(5)
        limit, in_use, peak = 7, Counter[str](), 0

        async def live(peer: Peer) -> None:
            nonlocal peak
            for _ in range(30):
                used = in_use[peer.holder]
                granted = await permit(peer, used + dice.randint(0, 5), limit, used)
                used = in_use[peer.holder] = max(used, dice.randint(0, granted))
                assert in_use.total() <= limit
                peak = max(peak, in_use.total())
                await asyncio.sleep(dice.random() / 500)
                in_use[peer.holder] = dice.randint(0, used)

        await asyncio.gather(*map(live, peers))
        assert peak > limit // 2

    # --- all at once

    async def test_nothing_is_missed_when_all_push_at_once(self, peers: list[Peer]) -> None:
        async def live(peer: Peer) -> None:
            for n in range(20):
                row = UsageRow(day=DAY, client="c", provider="p", credential="", model="m", requests=1, cost=0.5)
                await peer.sync(
                    values={
                        f"{peer.holder}-{n}": shared(b"1"),
                        "shared": shared(f"{peer.holder} {n}".encode()),
                    },
                    counts={"shared": count(1), f"{peer.holder}-{n % 3}": count(n)},
                    usage=[row],
                    answer_lost=n % 7 == 3,
                )

        await asyncio.gather(*map(live, peers))
        for peer in peers:
            await peer.sync()
        for peer in peers:
            assert len(peer.values) == len(peers) * 20 + 1
            assert peer.values == peers[0].values
            assert peer.totals == peers[0].totals
            assert peer.totals["shared"] == len(peers) * 20
            assert sum(peer.totals.values()) == len(peers) * (20 + sum(range(20)))
        [row] = await peers[0].backend.usage(DAY, DAY)
        assert (row.requests, row.cost) == (len(peers) * 20, len(peers) * 10)

    @settings(max_examples=30, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(steps=_steps)
    async def test_however_they_take_turns_all_end_up_knowing_the_same(
        self, peers: list[Peer], steps: list[_Step]
    ) -> None:
        run = f"run{next(_examples)}-"
        fresh = [Peer(peer.backend, run + peer.holder) for peer in peers]
        values: dict[str, bytes | None] = {}
        totals: dict[str, float] = {}
        spent = Counter[str]()
        for who, written, added, used, answer_lost in steps:
            values |= {run + name: value for name, value in written.items()}
            totals |= {run + name: totals.get(run + name, 0) + n for name, n in added.items()}
            spent.update({name: 0 for name, _ in used})
            for name, n in used:
                spent[name] += n
            await fresh[who].sync(
                values={run + name: shared(value) for name, value in written.items()},
                counts={run + name: count(n) for name, n in added.items()},
                usage=[UsageRow(day=DAY, client=run, provider="p", credential="", model=m, prompt=n) for m, n in used],
                answer_lost=answer_lost,
            )
        for peer in fresh:
            await peer.sync()
            assert of_run(run, peer.values) == {name: value for name, value in values.items() if value is not None}
            assert of_run(run, peer.totals) == totals
        rows = [row for row in await peers[0].backend.usage(DAY, DAY) if row.client == run]
        assert {row.model: row.prompt for row in rows} == spent
