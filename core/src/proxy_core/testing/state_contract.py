"""Contract tests of a state store, for inheritance by a store's own tests."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from proxy_core.interfaces import KeptValue, SharedValue, SyncRequest, UsageRow
from proxy_core.testing.pytest_plugin import PROPERTY
from proxy_core.testing.state_peer import OpenBackend, Peer, count, in_s, shared
from proxy_core.testing.state_sharing import SharingContract


def kept(
    name: str, value: bytes, *, owner: str = "o", life_s: float = 60, most: int = 9, most_bytes: int = 99
) -> KeptValue:
    expires_at = in_s(life_s)
    return KeptValue(owner=owner, name=name, value=value, expires_at=expires_at, most=most, most_bytes=most_bytes)


DAY = date(2026, 3, 1)
ROW = UsageRow(day=DAY, client="c", provider="p", credential="f00d", model="m", requests=1, prompt=5, cost=0.25)


class StateStoreContract(SharingContract):
    """Subclass it as ``Test...`` with the fixtures ``store`` and ``url``; a test gets an empty store.

    ::

        class TestMyStore(StateStoreContract):
            @pytest.fixture
            def store(self):
                return build_my_store()

            @pytest.fixture
            def url(self, tmp_path):
                return f"mine://{tmp_path}"
    """

    @pytest.fixture(autouse=True)
    def counted(self, request: pytest.FixtureRequest) -> None:
        """For the table at the end."""
        request.node.user_properties.append((PROPERTY, ["store", type(self).__name__, "store", request.node.name]))

    # --- notes

    async def test_a_note_is_seen_by_others_once_and_not_by_its_writer(self, ann: Peer, bob: Peer) -> None:
        await bob.sync()
        sent = shared(b"\x00\xff")
        assert (await ann.sync(values={"n": sent})).values in ({}, {"n": sent})  # seen was 0
        assert (await ann.sync()).values == {}
        pulled = (await bob.sync()).values["n"]
        assert pulled.value == sent.value
        assert pulled.expires_at == pytest.approx(sent.expires_at, abs=0.002)
        assert (await bob.sync()).values == {}

    async def test_the_last_note_to_arrive_counts(self, ann: Peer, bob: Peer) -> None:
        await ann.sync(values={"n": shared(b"1"), "m": shared(b"1")})
        pull = await bob.sync(values={"n": shared(b"2", life_s=30)})
        assert pull.values["m"].value == b"1"
        assert (await ann.sync()).values["n"].value == b"2"
        assert (ann.values, bob.values) == ({"n": b"2", "m": b"1"},) * 2

    async def test_a_note_taken_away_is_gone_for_all(self, ann: Peer, bob: Peer, open_backend: OpenBackend) -> None:
        await ann.sync(values={"n": shared(b"1")})
        await bob.sync()
        await bob.sync(values={"n": SharedValue(value=None, expires_at=0)})
        assert (await ann.sync()).values["n"].value is None
        late = await Peer(await open_backend(), "late").sync()
        assert late.values.get("n", shared(None)).value is None

    async def test_a_newcomer_is_told_everything_that_has_not_expired(
        self, ann: Peer, open_backend: OpenBackend
    ) -> None:
        await ann.sync(values={"old": shared(b"1", self.short_s), "n": shared(b"2")}, counts={"c": count(3)})
        await ann.sync(counts={"gone": count(1, self.short_s), "c": count(4)})
        await asyncio.sleep(self.short_s * 1.2)
        for holder in ("new", "ann"):  # a process that forgot what it wrote counts as new too
            pull = await Peer(await open_backend(), holder, number=5).sync()
            assert {name: n.value for name, n in pull.values.items()} == {"n": b"2"}
            assert pull.counts == {"c": 7}

    async def test_a_cursor_the_store_never_gave_is_that_of_a_newcomer(self, ann: Peer, bob: Peer) -> None:
        await ann.sync(values={"n": shared(b"1")}, counts={"c": count(1)})
        pull = await bob.backend.sync(SyncRequest(holder="bob", number=1, seen=2**52))
        assert (pull.values["n"].value, pull.counts) == (b"1", {"c": 1})
        assert pull.cursor < 2**52

    # --- counts and usage

    async def test_counts_add_up_and_their_totals_are_told_to_all(self, ann: Peer, bob: Peer) -> None:
        await bob.sync()
        assert (await ann.sync(counts={"c": count(2), "d": count(0.5)})).counts == {"c": 2, "d": 0.5}
        assert (await bob.sync(counts={"c": count(3)})).counts == {"c": 5, "d": 0.5}
        assert (await ann.sync()).counts == {"c": 5}
        assert (await ann.sync()).counts == {}

    async def test_a_count_starts_again_when_it_has_expired(self, ann: Peer, bob: Peer) -> None:
        await ann.sync(counts={"c": count(2, self.short_s), "d": count(1, self.short_s)})
        await bob.sync(counts={"d": count(1)})
        await asyncio.sleep(self.short_s * 1.2)
        assert (await bob.sync(counts={"c": count(1), "d": count(1), "late": count(9, -1)})).counts == {"c": 1, "d": 3}

    async def test_usage_adds_up_by_day_and_name(self, ann: Peer, bob: Peer) -> None:
        sums = "requests attempts failures prompt cached cache_write completion reasoning priced".split()
        full: dict[str, Any] = {name: n for n, name in enumerate(sums, 1)}
        row = replace(ROW, **full, cost=0.125)
        other: list[dict[str, Any]] = [{name: "other"} for name in ("client", "provider", "credential", "model")]
        others = [replace(row, **change) for change in other]
        await ann.sync(usage=[row, *others, row])
        await bob.sync(usage=[row, replace(row, credential="", cost=0.5)])
        tripled = replace(row, **{name: 3 * n for name, n in full.items()}, cost=0.375)
        rows = await ann.backend.usage(DAY, DAY)
        assert sorted(rows, key=repr) == sorted([tripled, *others, replace(row, credential="", cost=0.5)], key=repr)

    async def test_usage_is_read_and_forgotten_by_day(self, ann: Peer, bob: Peer) -> None:
        days = [DAY + timedelta(days=n) for n in (-2, -1, 0, 250)]
        await ann.sync(usage=[replace(ROW, day=day) for day in reversed(days)])
        assert [row.day for row in await bob.backend.usage(days[1], days[2])] == days[1:3]
        await bob.backend.forget_usage(DAY)
        assert [row.day for row in await ann.backend.usage(days[0], days[3])] == days[2:]

    # --- kept values

    async def test_a_kept_value_is_for_its_owner_in_any_process_until_it_is_forgotten(
        self, ann: Peer, bob: Peer
    ) -> None:
        await bob.sync()
        await ann.backend.keep(kept("n", b"\x00\xff"))
        assert await bob.backend.kept("o", "n") == b"\x00\xff"
        assert await bob.backend.kept("other", "n") is None
        assert await bob.backend.kept("o", "m") is None
        assert not await bob.backend.forget("other", "n")
        assert (await bob.sync()).values == {}, "other processes are not told"
        await ann.backend.keep(kept("n", b"2"))
        assert await bob.backend.kept("o", "n") == b"2"
        assert await bob.backend.forget("o", "n")
        assert await ann.backend.kept("o", "n") is None
        assert not await ann.backend.forget("o", "n")

    async def test_a_kept_value_expires(self, ann: Peer) -> None:
        await ann.backend.keep(kept("n", b"1", life_s=self.short_s))
        assert await ann.backend.kept("o", "n") == b"1"
        await asyncio.sleep(self.short_s * 1.2)
        assert await ann.backend.kept("o", "n") is None
        assert not await ann.backend.forget("o", "n")

    async def test_the_oldest_kept_values_of_an_owner_make_room(self, ann: Peer) -> None:
        backend = ann.backend
        await backend.keep(kept("theirs", b"123456", owner="other"))
        for number, name in enumerate("abcd"):
            await backend.keep(kept(name, b"12", most=3, life_s=60 + number))
        assert [await backend.kept("o", name) for name in "abcd"] == [None, b"12", b"12", b"12"]
        await backend.keep(kept("e", b"123", most_bytes=5, life_s=70))
        assert [await backend.kept("o", name) for name in "bcde"] == [None, None, b"12", b"123"]
        await backend.keep(kept("f", b"123456", most_bytes=5, life_s=80))
        assert [await backend.kept("o", name) for name in "def"] == [None, None, None]
        assert await backend.kept("other", "theirs") == b"123456"

    async def test_a_push_that_comes_twice_counts_once(self, ann: Peer, bob: Peer) -> None:
        await ann.sync()
        ann.lives_s = self.short_s
        push = SyncRequest(
            holder="ann", number=1, seen=ann.seen, counts={"c": count(1)}, usage=[ROW], values={"n": shared(b"1")},
            lives_s=self.short_s,
        )  # fmt: skip
        await ann.backend.sync(push)
        await bob.sync(counts={"d": count(2)}, values={"n": shared(b"2")})
        await asyncio.sleep(self.short_s * 1.6)
        await bob.sync()
        pull = await ann.backend.sync(push)
        assert pull.counts == {"c": 1, "d": 2}
        assert pull.values["n"].value == b"2"
        assert await bob.backend.usage(DAY, DAY) == [ROW]

    async def test_a_push_with_nothing_in_it_does_not_use_its_number_up(self, ann: Peer) -> None:
        for counts in ({}, {"c": count(1)}, {}):
            pull = await ann.backend.sync(SyncRequest(holder="ann", number=1, counts=counts))
        assert pull.counts == {"c": 1}

    async def test_what_was_told_is_there_after_everybody_left(self, ann: Peer, open_backend: OpenBackend) -> None:
        await ann.sync(values={"n": shared(b"1")}, counts={"c": count(1)}, usage=[ROW])
        await ann.backend.close()
        again = Peer(await open_backend(), "again")
        pull = await again.sync()
        assert (pull.values["n"].value, pull.counts) == (b"1", {"c": 1})
        assert await again.backend.usage(DAY, DAY) == [ROW]
