"""What the repository holds and keeps out."""

import shutil
import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = [ROOT / "core", *sorted((ROOT / "plugins").iterdir())]
#: Imported by plugins, and none themselves: the loader must not find them.
LIBRARIES = {"oauth"}

PRIVATE = [
    ".env",
    "team.env",
    "client.key",
    "oauth_creds/a.json",
    "proxy-core.toml",
    "state/x",
    "logs/proxy.log",
    "records.jsonl",
    "usage.sqlite",
    "usage.sqlite-wal",
    "uv.lock",
    "tls.pem",
]


@pytest.mark.parametrize("name", PRIVATE)
def test_what_is_private_is_ignored(name):
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("needs the git checkout")
    assert subprocess.run(["git", "check-ignore", "-q", name], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("package", PACKAGES, ids=lambda p: p.name)
def test_every_package_is_whole(package):
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]

    for name in ("README.md", "CHANGELOG.md", "LICENSE"):
        assert (package / name).read_text().strip(), name
    assert list(package.glob("src/*/py.typed"))
    assert list(package.glob("tests/test_*.py"))
    assert (project["license"], project["requires-python"]) == ("MIT", ">=3.11")
    assert project["description"]
    if package.name != "core":
        assert project["name"] == f"proxy-plugin-{package.name.replace('_', '-')}"
    if package.name in LIBRARIES:
        assert "entry-points" not in project
    elif package.name != "core":
        points = project["entry-points"]
        assert points["proxy_core.plugins"] == {package.name: f"proxy_plugin_{package.name}"}
        assert points["proxy_core.hook_api"] == {package.name: "v1"}


def test_floors_that_matter_are_set():
    needs = tomllib.loads((ROOT / "core/pyproject.toml").read_text())["project"]["dependencies"]

    for floor in ("starlette>=1.3.1", "h11>=0.16.0", "h2>=4.4.1", "pluggy>=1.7"):
        assert floor in needs
    assert not any(need.startswith("litellm") for need in needs)


@pytest.mark.slow
def test_packages_build_to_wheels_with_all_they_need(wheels):
    wheels = sorted(wheels.glob("*.whl"))

    assert len(wheels) == len(PACKAGES)
    for wheel in wheels:
        names = zipfile.ZipFile(wheel).namelist()
        assert any(name.endswith("/py.typed") for name in names)
        assert any(name.endswith("licenses/LICENSE") for name in names)
        assert not any("tests/" in name for name in names)
