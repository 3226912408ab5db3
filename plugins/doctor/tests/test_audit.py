"""``proxy-core plugins audit``: a package that is not what was installed, locked or started is named; none is run."""

import base64
import hashlib
import json
import subprocess
import sys
import venv

import msgspec
import pytest
from click.testing import CliRunner

from proxy_core.cli.api import Inventory, differences, last_start
from proxy_core.testing import run, serving
from proxy_plugin_doctor.plugins import command

RAN = "import pathlib\npathlib.Path({mark!r}).touch()\n"


class Site:
    """A folder of installed packages."""

    def __init__(self, folder):
        self.folder = folder
        self.mark = folder.parent / "ran"

    def install(self, name="parrot", version="1.2", text="", **more):
        """A plugin's package, with the record that an installer writes. ``more`` are files of its ``.dist-info``."""
        package, info = f"audited_{name}", f"audited_{name}-{version}.dist-info"
        files = {
            f"{package}/__init__.py": RAN.format(mark=str(self.mark)) + text,
            f"{package}/data.json": "{}",
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: audited-{name}\nVersion: {version}\n",
            f"{info}/INSTALLER": "pip\n",
            f"{info}/entry_points.txt": f"[proxy_core.plugins]\n{name} = {package}\n",
            **{f"{info}/{file}": content for file, content in more.items()},
        }
        for path, content in files.items():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_text(content)
        lines = [f"{path},{recorded(content)},{len(content)}\n" for path, content in files.items()]
        (self.folder / info / "RECORD").write_text("".join([*lines, f"{info}/RECORD,,\n"]))
        return self.folder / package


def recorded(content):
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture
def site(tmp_path, monkeypatch):
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PROXY_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return Site(folder)


def audit(*arguments):
    done = CliRunner().invoke(command, ["audit", *arguments], catch_exceptions=False)
    return done.exit_code, done.output


def problems(*arguments):
    return json.loads(audit("--json", *arguments)[1])["problems"]


def test_every_package_with_a_plugin_is_listed_with_its_origin_and_none_is_run(site):
    site.install()
    site.install("forked", **{"direct_url.json": '{"url": "https://x.test/p", "vcs_info": {"commit_id": "abc1234"}}'})

    code, output = audit()
    packages = {p["name"]: p for p in json.loads(audit("--json")[1])["packages"]}

    assert code == 0
    assert packages["audited-parrot"]["plugins"] == ["parrot"]
    assert packages["audited-parrot"]["origin"] == "an index, by pip"
    assert packages["audited-forked"]["origin"] == "https://x.test/p at abc1234"
    assert packages["proxy-plugin-doctor"]["plugins"] == ["doctor"]
    assert "audited-parrot" in output
    assert not site.mark.exists()


ALTERED = {
    "edited": (lambda package: (package / "__init__.py").write_text("evil"), "changed since they were installed"),
    "deleted": (lambda package: (package / "data.json").unlink(), "missing"),
    "added": (lambda package: (package / "more.py").write_text("evil"), "not in the record of what was installed"),
}


@pytest.mark.parametrize(("alter", "what"), ALTERED.values(), ids=ALTERED)
def test_files_that_are_not_as_installed_are_named(site, alter, what):
    package = site.install()
    before = problems()

    alter(package)
    code, output = audit()

    assert before == []
    assert code == 1
    assert f"problem: audited-parrot has files that are {what}: audited_parrot/" in output


def test_a_lock_tells_other_files_and_other_packages_even_if_their_records_fit(site, tmp_path):
    site.install()
    site.install("kept")
    site.install("gone")
    recorded_code, _ = audit("--record", "--lock", "team/plugins.lock")
    unchanged = problems("--lock", "team/plugins.lock")

    site.install(text="evil = True\n")
    site.install("extra")
    for file in (site.folder / "audited_gone-1.2.dist-info").iterdir():
        file.unlink()
    (site.folder / "audited_gone-1.2.dist-info").rmdir()

    assert (recorded_code, unchanged) == (0, [])
    assert problems("--lock", "team/plugins.lock") == [
        "audited-extra is installed, but not in the lock",
        "audited-gone is locked, but not installed",
        "audited-parrot 1.2 has other files than the lock",
    ]


def test_a_lock_of_another_machine_fits_the_same_files(site):
    site.install(**{"direct_url.json": '{"url": "file:///here"}'})
    audit("--record")

    site.install(INSTALLER="uv\n", **{"direct_url.json": '{"url": "file:///there"}'})

    assert problems() == []


def test_without_a_lock_it_says_how_to_get_one_and_a_broken_one_is_named(site, tmp_path):
    _, output = audit()
    (tmp_path / "broken.lock").write_text("[]")

    result = CliRunner().invoke(command, ["audit", "--lock", "broken.lock"])

    assert "`proxy-core plugins audit --record` writes" in output
    assert "broken.lock is no lock" in str(result.exception)


async def test_what_changed_since_the_last_start_is_said_by_the_next_and_by_the_audit(site, tmp_path, monkeypatch):
    site.install()
    site.install("gone")
    home = tmp_path / "home"
    home.mkdir()
    variables = {"PYTHONPATH": str(site.folder), "PROXY_DATA_DIR": str(tmp_path / "data")}
    async with serving(home, **variables) as first:
        pass
    for file in (site.folder / "audited_gone-1.2.dist-info").iterdir():
        file.unlink()
    (site.folder / "audited_parrot-1.2.dist-info").rename(site.folder / "audited_parrot-1.3.dist-info")
    site.install(version="1.3")
    site.install("extra")

    seen = json.loads(audit("--json")[1])["changes"]
    async with serving(home, **variables) as second:
        pass
    site.mark.unlink()
    code, output = await run(home, "plugins", "audit", **variables)

    assert "since the last start" not in first.output
    for change in ("audited-extra 1.2 is new", "audited-gone 1.2 is gone", "audited-parrot changed from 1.2 to 1.3"):
        assert any(line.startswith("since the last start") and line.endswith(change) for line in seen)
        assert f"since the last start: {change}" in second.output
        assert change in output
    assert "nothing changed since the last start" in output
    assert code == 0
    assert not site.mark.exists()
    assert last_start(tmp_path / "data").packages["audited-parrot"].version == "1.3"


def test_a_single_file_that_was_tried_is_not_gone_afterwards():
    def installed(**versions):
        packages = {name: {"version": version, "digest": "d"} for name, version in versions.items()}
        return msgspec.convert({"at": "2026-11-28T00:00:00Z", "packages": packages, "path_files": {}}, Inventory)

    assert differences(installed(tried="0+dev", removed="1.0"), installed()) == ["removed 1.0 is gone"]
    assert differences(installed(), installed(tried="0+dev")) == ["tried 0+dev is new"]


def test_files_that_python_reads_at_its_start_are_listed_and_compared(tmp_path):
    """In an environment of its own: no other has a folder whose ``.pth`` files a test may write."""
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    folder = next((tmp_path / "env" / "lib").glob("python*/site-packages"))
    (folder / "these.pth").write_text("\n".join(path for path in sys.path if path))

    def audited(*arguments):
        command = [python, "-m", "proxy_core", "plugins", "audit", "--json", *arguments]
        variables = {"PROXY_DATA_DIR": str(tmp_path / "data"), "HOME": str(tmp_path)}
        done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=60)
        return done.returncode, json.loads(done.stdout)

    code, clean = audited("--record")
    (folder / "evil.pth").write_text("import os\n")
    (folder / "sitecustomize.py").write_text("x = 1\n")
    worse_code, worse = audited()

    assert code == 0
    assert {(file["file"], file["package"], file["runs_code"]) for file in worse["path_files"]} == {
        (str(folder / "evil.pth"), "", True),
        (str(folder / "sitecustomize.py"), "", True),
        (str(folder / "these.pth"), "", False),
    }
    assert worse_code == 1
    assert worse["problems"] == ["evil.pth is not in the lock", "sitecustomize.py is not in the lock"]
    assert [file["file"] for file in clean["path_files"]] == [str(folder / "these.pth")]
