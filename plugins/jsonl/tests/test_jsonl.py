"""Files of request records: private, rotated by size, limited by number and age."""

import os
import stat
import time
import tomllib
from pathlib import Path

import pytest

from proxy_plugin_jsonl.files import JsonLines, JsonLinesSettings

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture
async def written(tmp_path):
    """Write lines, one batch each; returns the files afterwards."""
    folder = tmp_path / "records"

    async def written(*lines, **settings):
        files = JsonLines(lambda: folder, JsonLinesSettings(**settings))
        for line in lines:
            await files.write([line])
        await files.close()
        return sorted(folder.iterdir()) if folder.is_dir() else []

    return written


async def test_nothing_is_created_before_the_first_record(written):
    assert await written() == []


async def test_a_file_is_private_and_has_a_line_for_each_record(written):
    [file] = await written(b"1", b"2")

    assert file.read_bytes() == b"1\n2\n"
    assert (stat.S_IMODE(file.stat().st_mode), stat.S_IMODE(file.parent.stat().st_mode)) == (0o600, 0o700)


async def test_folders_above_are_private_too_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        files = JsonLines(lambda: tmp_path / "a" / "b" / "records", JsonLinesSettings())
        await files.write([b"1"])
        await files.close()
    finally:
        os.umask(before)

    for folder in ("a", "a/b", "a/b/records"):
        assert stat.S_IMODE((tmp_path / folder).stat().st_mode) == 0o700


@pytest.mark.parametrize("planted", ["a link", "a file"])
async def test_what_was_put_there_before_is_not_written_to(tmp_path, planted):
    now = int(time.time())
    for second in range(now, now + 30):
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        name = tmp_path / f"requests-{stamp}-{os.getpid()}-0001.jsonl"
        name.symlink_to(tmp_path / "target") if planted == "a link" else name.touch(mode=0o666)
    files = JsonLines(lambda: tmp_path, JsonLinesSettings(max_files=100))

    await files.write([b"a prompt"])
    await files.close()

    [written] = [file for file in tmp_path.iterdir() if file.is_file() and file.stat().st_size]
    assert written.name.endswith("-0002.jsonl")
    assert stat.S_IMODE(written.stat().st_mode) == 0o600


async def test_a_full_file_is_followed_by_another_and_the_oldest_go(written):
    files = await written(*[b"%04d" % n * 200 for n in range(9)], max_file_bytes=1024, max_files=3)

    assert [file.read_bytes()[:4] for file in files] == [b"0006", b"0007", b"0008"]


async def test_files_of_others_go_when_they_are_old_but_not_while_they_may_be_written_to(tmp_path, written):
    folder = tmp_path / "records"
    folder.mkdir()
    for name, age_s in (("requests-a-1-1.jsonl", 3 * 86_400), ("requests-b-1-1.jsonl", 0), ("notes.txt", 3 * 86_400)):
        (folder / name).write_text("{}\n")
        os.utime(folder / name, (time.time() - age_s,) * 2)

    names = {file.name for file in await written(b"1", max_files=1, max_age_days=2)}

    assert "requests-a-1-1.jsonl" not in names
    assert {"requests-b-1-1.jsonl", "notes.txt"} < names


def test_the_readme_names_every_setting_and_its_default():
    table = tomllib.loads(README.read_text().partition("```toml")[2].partition("```")[0])["plugins"]["jsonl"]
    defaults = {name: field.default for name, field in JsonLinesSettings.model_fields.items()}

    assert table.keys() == defaults.keys()
    assert {**table, "folder": None} == defaults
