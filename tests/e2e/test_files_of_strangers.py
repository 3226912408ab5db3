"""The data folder: full or read-only, and with what other users have put there."""

import os
import stat
import sys

import pytest

from proxy_core import SettingsError
from proxy_core.runtime.start import start
from proxy_core.settings.loading import load
from proxy_core.testing.program import run, serving

KEYS = ("client.key", "admin.key", "state.key")


@pytest.fixture
def started(tmp_path):
    """The first generation with its data in a folder, and no key configured."""

    def make(folder=tmp_path / "data", **environ):
        return start(load(environ={"PROXY_DATA_DIR": str(folder), **environ}, cwd=tmp_path)).current

    return make


def test_keys_are_kept_from_one_start_to_the_next_and_only_for_their_owner(tmp_path, started):
    before = os.umask(0)
    try:
        first, second = started(tmp_path / "a/b/data"), started(tmp_path / "a/b/data")
    finally:
        os.umask(before)

    assert first.services.keys._digests == second.services.keys._digests
    for name in KEYS:
        assert stat.S_IMODE((tmp_path / "a/b/data" / name).stat().st_mode) == 0o600
    for folder in ("a", "a/b", "a/b/data"):
        assert stat.S_IMODE((tmp_path / folder).stat().st_mode) == 0o700
    assert sorted(p.name for p in (tmp_path / "a/b/data").glob("*key*")) == sorted(KEYS)


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("mode", [0o644, 0o666, 0o640])
def test_a_key_that_others_could_read_or_write_is_not_trusted(tmp_path, started, name, mode):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / name).write_text("planted-by-a-stranger\n")
    (tmp_path / "data" / name).chmod(mode)

    with pytest.raises(SettingsError, match="others have access"):
        started()


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("name", KEYS)
def test_a_key_of_another_user_is_not_trusted(tmp_path, started, name):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / name).write_text("planted-by-a-stranger\n")
    (tmp_path / "data" / name).chmod(0o600)
    os.chown(tmp_path / "data" / name, 12345, 12345)

    with pytest.raises(SettingsError, match="belongs to another user"):
        started()


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("exists", [True, False])
def test_a_link_in_place_of_a_key_is_neither_followed_nor_written_through(tmp_path, started, name, exists):
    (tmp_path / "data").mkdir()
    target = tmp_path / "target"
    if exists:
        target.write_text("precious\n")
        target.chmod(0o600)
    (tmp_path / "data" / name).symlink_to(target)

    with pytest.raises(SettingsError, match="is a link"):
        started()

    assert target.exists() == exists
    assert not exists or target.read_text() == "precious\n"


@pytest.mark.parametrize("folder", ["/proc/self/none", "/dev/null/x"])
async def test_where_nothing_can_be_written_configured_keys_are_enough(tmp_path, folder):
    if not os.path.exists("/proc/self"):
        pytest.skip("needs /proc")
    variables = {"PROXY_DATA_DIR": folder, "PROXY_API_KEY": "a-key-of-16-chars"}
    async with serving(tmp_path, "--demo", **variables) as program:
        pass
    code, output = await run(tmp_path, "serve", "--port", "0", PROXY_DATA_DIR=folder)

    assert program.output.count("using one for this run only") == 2
    assert (code, "Set PROXY_API_KEY" in output) == (2, True), "nobody could learn a client key of this run"
