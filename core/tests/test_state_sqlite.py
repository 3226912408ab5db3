"""State in SQLite: what every store has to do, and what can happen to a file."""

import asyncio
import json
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from proxy_core.interfaces import PermitRequest, StateLost
from proxy_core.state import sqlite_file
from proxy_core.state.sqlite import sqlite_store
from proxy_core.testing import Peer, StateStoreContract
from proxy_core.testing.state_contract import DAY, ROW
from proxy_core.testing.state_peer import count, shared

LOAD = Path(__file__).with_name("state_load.py")


@pytest.fixture
def file(tmp_path):
    return tmp_path / "state" / "state.db"


@pytest.fixture
def url(file):
    return f"sqlite://{file}"


@pytest.fixture
async def open_peer(url):
    opened = []

    async def open_one(holder="ann"):
        opened.append(await sqlite_store().open(url))
        return Peer(opened[-1], holder)

    yield open_one
    for state in opened:
        await state.close()


def damaged(file):
    return sorted(found.name for found in file.parent.glob("*.damaged-*") if not found.name.endswith(("-wal", "-shm")))


def query(file, statement):
    with closing(sqlite3.connect(file)) as db, db:
        return db.execute(statement).fetchall()


async def sync_until_lost(peer):
    for n in range(100):
        await peer.sync(values={f"{peer.holder}-{n}": shared(b"x" * 500)}, counts={"c": count(1)}, usage=[ROW])


class TestSqliteState(StateStoreContract):
    short_s = 0.15

    @pytest.fixture
    def store(self):
        return sqlite_store()

    @pytest.fixture
    def url(self, url):
        return url


# --- files


async def test_only_the_owner_can_read_it(open_peer, file):
    await (await open_peer()).sync(usage=[ROW])

    assert oct(file.parent.stat().st_mode & 0o777) == "0o700"
    modes = {found.name: oct(found.stat().st_mode & 0o777) for found in file.parent.iterdir()}
    assert modes == dict.fromkeys(["state.db", "state.db-wal", "state.db-shm", "state.db.lock"], "0o600")


async def test_a_file_that_others_could_read_is_closed_to_them(open_peer, file):
    await (await open_peer()).backend.close()
    file.chmod(0o644)

    await open_peer()

    assert oct(file.stat().st_mode & 0o777) == "0o600"


async def test_closing_puts_everything_into_one_file(open_peer, file):
    peer = await open_peer()
    await peer.sync(usage=[ROW])
    await peer.backend.close()

    assert sorted(found.name for found in file.parent.iterdir()) == ["state.db", "state.db.lock"]
    assert query(file, "SELECT requests FROM usage") == [(1,)]


@pytest.mark.parametrize("url", ["sqlite://state.db", "sqlite:///", "sqlite:"])
async def test_a_url_without_an_absolute_path_is_refused(url):
    with pytest.raises(StateLost, match="absolute"):
        await sqlite_store().open(url)


# --- schema


async def test_a_file_of_the_first_schema_is_migrated_and_keeps_what_it_holds(open_peer, file):
    file.parent.mkdir()
    with closing(sqlite3.connect(file)) as db, db:
        for statement in sqlite_file.STEPS[0]:
            db.execute(statement)
        db.execute("INSERT INTO usage VALUES ('2026-03-01', 'c', 'p', 'f00d', 'm', 1, 0, 0, 5, 0, 0, 0, 0, 0.25, 0)")
        db.execute("PRAGMA user_version = 1")

    peer = await open_peer()

    assert await peer.backend.usage(DAY, DAY) == [ROW]
    assert (await peer.sync(permits={"k": PermitRequest(want=1, limit=1)})).held == {"k": 1}
    assert query(file, "PRAGMA user_version") == [(len(sqlite_file.STEPS),)]


async def test_several_open_and_migrate_a_new_file_at_once(open_peer):
    peers = await asyncio.gather(*(open_peer(f"p{n}") for n in range(6)))

    await asyncio.gather(*(peer.sync(counts={"c": count(1)}) for peer in peers))

    newcomer = await open_peer("p6")  # who was last of the six has the sum already, and would hear no news
    assert (await newcomer.sync()).counts == {"c": 6}


@pytest.mark.parametrize(
    ("statement", "words"),
    [("PRAGMA user_version = 99", "newer proxy-core .schema 99"), ("CREATE TABLE bank (x)", "another program")],
)
async def test_a_file_that_is_not_ours_to_write_is_refused_and_left_alone(open_peer, file, statement, words):
    file.parent.mkdir()
    query(file, statement)
    before = file.read_bytes()

    with pytest.raises(StateLost, match=words):
        await open_peer()

    assert damaged(file) == []
    assert file.read_bytes() == before


# --- damage


@pytest.mark.parametrize("content", [b"not a database at all" * 500, b"short", os.urandom(9000)], ids=len)
async def test_a_file_that_is_no_database_is_set_aside(open_peer, file, content):
    file.parent.mkdir()
    file.write_bytes(content)

    with pytest.raises(StateLost, match=r"was damaged .* and is now state\.db\.damaged-\d{8}T\d{6}Z"):
        await open_peer()

    assert (file.parent / damaged(file)[0]).read_bytes() == content
    assert (await (await open_peer()).sync(counts={"c": count(1)})).counts == {"c": 1}


async def test_a_truncated_file_is_set_aside(open_peer, file):
    peer = await open_peer()
    await peer.sync(values={f"n{n}": shared(b"x" * 200) for n in range(2000)}, usage=[ROW])
    await peer.backend.close()
    os.truncate(file, file.stat().st_size // 2 + 100)

    with pytest.raises(StateLost, match="damaged"):
        await sync_until_lost(await open_peer())

    assert len(damaged(file)) == 1
    await (await open_peer()).sync()


async def test_damage_under_several_running_processes_leaves_them_with_one_new_file(open_peer, file):
    peers = [await open_peer(f"p{n}") for n in range(4)]
    for peer in peers:
        await peer.sync(values={f"{peer.holder}-{n}": shared(b"x" * 500) for n in range(50)}, usage=[ROW])
    query(file, "PRAGMA wal_checkpoint(TRUNCATE)")
    with file.open("r+b") as broken:
        broken.write(os.urandom(file.stat().st_size))

    ends = await asyncio.gather(*map(sync_until_lost, peers), return_exceptions=True)

    assert {type(end) for end in ends} == {StateLost}
    again = [await open_peer(f"new{n}") for n in range(4)]
    for peer in peers:  # closing the old does no harm to the new
        await peer.backend.close()
    await asyncio.gather(*(peer.sync(counts={"c": count(1)}) for peer in again))
    await again[0].sync()
    assert again[0].totals == {"c": 4}
    assert len(damaged(file)) == 1
    assert query(file, "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize("suffixes", [("",), ("", "-wal", "-shm")], ids=["file", "all"])
async def test_a_file_deleted_under_a_running_process_is_noticed(open_peer, file, suffixes):
    old, idle = await open_peer("old"), await open_peer("idle")
    await idle.sync()
    await old.sync(values={"n": shared(b"1")}, counts={"c": count(5)})
    await idle.sync()
    for suffix in suffixes:
        os.unlink(f"{file}{suffix}")

    with pytest.raises(StateLost, match="deleted or replaced"):
        await old.sync(counts={"c": count(1)})
    with pytest.raises(StateLost, match="deleted or replaced"):
        await idle.sync()

    new, other = await open_peer("new"), await open_peer("other")
    assert (await new.sync(counts={"c": count(1)})).counts == {"c": 1}
    await old.backend.close()
    await idle.backend.close()
    assert (await other.sync(counts={"c": count(1)})).counts == {"c": 2}
    assert query(file, "PRAGMA integrity_check") == [("ok",)]


# --- passing trouble


async def test_a_store_locked_for_long_raises_and_goes_on_afterwards(open_peer, file, monkeypatch):
    monkeypatch.setattr(sqlite_file, "BUSY_S", 0.1)
    peer, idle = await open_peer(), await open_peer("idle")
    await idle.sync()
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            await peer.sync(usage=[ROW])
        await idle.sync()  # reading goes on
        assert len(await peer.backend.usage(DAY, DAY)) == 0
        other.execute("ROLLBACK")

    await peer.sync(usage=[ROW])

    assert await peer.backend.usage(DAY, DAY) == [ROW]


async def test_a_disk_that_is_full_raises_and_goes_on_afterwards(open_peer, file):
    peer = await open_peer()
    await peer.sync(usage=[ROW])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    big = {"n": shared(b"x" * 400_000)}
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        for _ in range(3):
            with pytest.raises(sqlite3.OperationalError):
                await peer.sync(usage=[ROW], values=big)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    await peer.sync(usage=[ROW], values=big)

    [row] = await peer.backend.usage(DAY, DAY)
    assert row.requests == 2
    assert damaged(file) == []


async def test_a_file_system_without_room_raises_and_goes_on_afterwards(open_peer, file):
    file.parent.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", file.parent], capture_output=True
    ).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        peer = await open_peer()
        await peer.sync(usage=[ROW])
        filler = file.with_name("filler")
        with pytest.raises(OSError), filler.open("wb", buffering=0) as full:
            while True:
                full.write(b"x" * 4096)
        for _ in range(3):
            with pytest.raises(sqlite3.OperationalError):
                await peer.sync(usage=[ROW], values={"n": shared(b"x" * 100_000)})
        filler.unlink()
        await peer.sync(usage=[ROW])
        assert [row.requests for row in await peer.backend.usage(DAY, DAY)] == [2]
        await peer.backend.close()
    finally:
        subprocess.run(["umount", "-l", file.parent], check=True)


@pytest.mark.parametrize("suffix", ["", ".lock", "-wal", "-shm"])
@pytest.mark.parametrize("exists", [True, False])
async def test_a_link_that_somebody_put_in_its_place_is_not_followed(open_peer, file, tmp_path, suffix, exists):
    target = tmp_path / "precious"
    if exists:
        target.write_bytes(b"")  # an empty file is a valid database
    file.parent.mkdir()
    if suffix in ("-wal", "-shm"):
        sqlite_file.DatabaseFile(file).connect().close()
    file.with_name(file.name + suffix).symlink_to(target)

    with pytest.raises(StateLost, match="is a link"):
        await open_peer()

    assert target.exists() == exists
    assert not exists or target.read_bytes() == b""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("suffix", ["", ".lock"])
async def test_a_file_of_another_user_is_not_written_to(open_peer, file, suffix):
    file.parent.mkdir()
    planted = file.with_name(file.name + suffix)
    planted.touch()
    os.chown(planted, 12345, 12345)

    with pytest.raises(StateLost, match="belongs to another user"):
        await open_peer()

    assert planted.read_bytes() == b""


async def test_something_else_in_its_place_raises_and_is_left_alone(open_peer, file):
    file.mkdir(parents=True)
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        await open_peer()
    assert file.is_dir()
    shutil.rmtree(file.parent)
    file.parent.write_text("a file")
    with pytest.raises(OSError):
        await open_peer()


async def test_a_push_that_cannot_be_written_leaves_nothing_of_it(open_peer):
    peer = await open_peer()
    with pytest.raises(UnicodeEncodeError):
        await peer.sync(counts={"c": count(1)}, values={"n": shared(b"1"), "\ud800": shared(b"2")})

    assert (await peer.sync(counts={"c": count(1)})).counts == {"c": 1}


# --- processes


def load(url, *args):
    done = subprocess.run([sys.executable, LOAD, url, *args], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_what_was_acknowledged_survives_kill_9(url, file):
    told = load(url, "killed", "20")

    assert query(file, "PRAGMA integrity_check") == [("ok",)]
    assert sum(number for number, _ in told) > 20
    kept = dict(query(file, "SELECT credential, min(requests) FROM usage GROUP BY credential"))
    most = dict(query(file, "SELECT credential, max(requests) FROM usage GROUP BY credential"))
    assert kept == most, "a push is kept whole or not at all"
    for n, (number, _) in enumerate(told):
        assert kept.get(f"h{n}", 0) in (number, number + 1)
    assert query(file, "SELECT min(total), max(total) FROM counts") == [(sum(kept.values()),) * 2]
    assert damaged(file) == []


@pytest.mark.slow
def test_processes_that_write_together_lose_nothing_and_do_not_wait_long(url, file):
    told = load(url, "together", "4")

    pushes = sum(number for number, _ in told)
    assert pushes > 40
    assert query(file, "SELECT sum(requests), sum(cost) FROM usage") == [(pushes * 20, pushes * 10)]
    assert query(file, "SELECT DISTINCT total FROM counts") == [(pushes,)]
    assert max(slowest_ms for _, slowest_ms in told) < 1500
