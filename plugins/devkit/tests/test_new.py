"""``proxy-core plugin new``: what it writes passes its own tests, and works when it is installed from its wheel."""

import json
import os
import shutil
import subprocess
import sys
import tomllib

import httpx
import pytest
from click.testing import CliRunner

from proxy_core.cli.api import load
from proxy_core.testing import FakeUpstream, serving
from proxy_plugin_devkit.new.command import _TAKEN as TAKEN
from proxy_plugin_devkit.new.command import KINDS, group, package

#: Lines of the largest provider that is still small.
MOST_LINES = 40


def new(*arguments):
    return CliRunner().invoke(group, ["new", *map(str, arguments)])


def test_it_writes_a_publishable_package(tmp_path):
    done = new("my_vendor", "--folder", tmp_path / "made")

    made = tmp_path / "made"
    assert done.exit_code == 0
    assert {str(path.relative_to(made)) for path in made.rglob("*") if path.is_file()} == {
        ".github/workflows/ci.yml",
        ".github/workflows/release.yml",
        ".gitignore",
        "CHANGELOG.md",
        "LICENSE",
        "README.md",
        "pyproject.toml",
        "src/proxy_plugin_my_vendor/__init__.py",
        "src/proxy_plugin_my_vendor/py.typed",
        "tests/test_my_vendor.py",
    }
    project = tomllib.loads((made / "pyproject.toml").read_text())["project"]
    assert project["name"] == "proxy-plugin-my-vendor"
    assert project["entry-points"]["proxy_core.plugins"] == {"my_vendor": "proxy_plugin_my_vendor"}
    assert "id-token: write" in (made / ".github/workflows/release.yml").read_text()
    assert "MY_VENDOR_API_KEY" in (made / "README.md").read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_the_template_is_left(kind):
    assert [path for path, text in package("my_vendor", kind).items() if "example" in (path + text).lower()] == []
    assert not any("@" in text.replace("@v", "").replace("@release", "") for text in [package("x1", kind)["README.md"]])


def test_a_provider_for_an_openai_compatible_upstream_is_short():
    code = package("my_vendor", "provider")["src/proxy_plugin_my_vendor/__init__.py"]

    assert len(code.splitlines()) < MOST_LINES


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("My-Vendor", "'my_vendor' would do"),
        ("my.vendor", "'my_vendor' would do"),
        ("my__vendor", "'my_vendor' would do"),
        ("1st", "begin with a letter: as in 'my_vendor'"),
        ("a", "as in 'my_vendor'"),
        ("../x", "as in 'my_vendor'"),
        ("class", "'class' is a word of Python; 'my_class' would do"),
        ("core", "'core' has a meaning"),
        ("disabled", "'disabled' has a meaning in [plugins]"),
        ("devkit", "'devkit' is the name of a plugin of proxy-plugin-devkit, which is installed"),
    ],
)
def test_a_name_that_cannot_be_one_is_refused(name, told, tmp_path):
    done = new(name, "--folder", tmp_path / "made")

    assert done.exit_code == 2
    assert told in " ".join(done.output.split())
    assert not (tmp_path / "made").exists()


def test_every_key_of_the_table_of_plugins_is_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert {*type(load().settings.plugins).model_fields} <= {*TAKEN}


def test_a_folder_with_files_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("x")

    assert new("my_vendor", "--folder", tmp_path).exit_code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.fixture
def installed(tmp_path):
    """Writes a plugin, builds its wheel and installs it into a folder of its own: ``installed("provider")``."""
    uv = shutil.which("uv") or pytest.skip("needs uv")

    def make(kind):
        source, site = tmp_path / "source", tmp_path / "site"
        assert new("my_vendor", "--kind", kind, "--folder", source).exit_code == 0
        subprocess.run([uv, "build", "-q", "--wheel", "--out-dir", tmp_path / "dist"], cwd=source, check=True)
        [wheel] = (tmp_path / "dist").glob("*.whl")
        target = ["--quiet", "--no-deps", "--python", sys.executable, "--target", str(site)]
        subprocess.run([uv, "pip", "install", *target, str(wheel)], check=True, capture_output=True)
        return source, site

    return make


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_its_tests_pass(installed, kind):
    source, site = installed(kind)
    environ = {**os.environ, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"]

    done = subprocess.run(command, cwd=source, env=environ, capture_output=True, text=True, timeout=300)

    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-1000:]
    assert "conformance with proxy-core" in done.stdout
    badge = json.loads((source / "conformance.json").read_text())
    assert badge["color"] == "brightgreen"


@pytest.mark.slow
async def test_a_new_provider_serves_a_request(installed, tmp_path):
    _, site = installed("provider")
    async with FakeUpstream() as upstream:
        variables = {
            "PYTHONPATH": str(site),
            "MY_VENDOR_API_KEY": "a-key",
            "MY_VENDOR_API_BASE": upstream.url,
            "PROXY_API_KEY": "client-key",
        }
        hello = {"model": "my_vendor/small", "messages": [{"role": "user", "content": "hi"}]}
        key = {"authorization": "Bearer client-key"}
        async with serving(tmp_path, **variables) as program, httpx.AsyncClient() as client:
            answer = await client.post(f"{program.url}/v1/chat/completions", json=hello, headers=key, timeout=60)

    assert answer.json()["choices"][0]["message"]["content"] == "hello"
    assert upstream.keys_seen == ["a-key"]
