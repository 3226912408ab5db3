"""The lock file that a vendor's program uses too: which process holds it, and when another may take it over."""

import os
import time
import uuid

import pytest

from proxy_plugin_oauth import LockFile


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.lock"


def test_one_holder_at_a_time(path):
    one, other = LockFile(path, guarded=False), LockFile(path, guarded=False)

    assert (one.try_acquire(), other.try_acquire()) == (True, False)
    assert path.stat().st_mode & 0o777 == 0o600
    other.release()
    assert path.exists()
    one.release()
    assert not path.exists()
    assert other.try_acquire()
    other.release()


def test_a_lock_left_behind_is_taken_over_and_a_fresh_one_is_not(path, tmp_path):
    path.write_text("a process")
    lock = LockFile(path)
    assert not lock.try_acquire()
    os.utime(path, (time.time() - 40,) * 2)
    assert not lock.try_acquire()  # only removes it
    assert lock.try_acquire()
    assert path.read_text() != "a process"
    path.write_text("another process")
    lock.release()

    assert path.read_text() == "another process"
    assert [p.name for p in tmp_path.iterdir() if "stale" in p.name] == []


def test_the_lock_of_a_killed_process_of_ours_is_taken_over_without_a_gap(path, monkeypatch):
    left = LockFile(path)
    assert left.try_acquire()
    word = path.read_text()
    # Removing it first would let the other program in.
    monkeypatch.setattr(type(path), "rename", None)
    assert not LockFile(path, guarded=False).try_acquire()

    ours = LockFile(path)
    assert ours.try_acquire()
    assert path.read_text() != word
    assert uuid.UUID(word)
    ours.release()
    assert not path.exists()
    left.release()
