"""The real program: the demo in one command, or the command that installs it."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import httpx
import pytest

import proxy_core
from proxy_core.testing import run, serving
from proxy_core.testing.program import environment

#: Each starts the program cold.
pytestmark = pytest.mark.slow

CHAT = {"model": "demo/small", "messages": [{"role": "user", "content": "hi"}]}
KEY = {"authorization": "Bearer some-key"}


@pytest.fixture
def core_alone(tmp_path):
    """A folder of packages as if only proxy-core were installed."""
    site = tmp_path / "site"
    site.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith(("proxy_plugin_", "_proxy_plugin_")) and entry.suffix != ".pth":
            (site / entry.name).symlink_to(entry)
    return [site, Path(proxy_core.__file__).parents[1]]


def test_with_the_core_alone_the_line_that_is_missing_is_printed(core_alone, tmp_path):
    program = f"import sys; sys.path[:0] = {list(map(str, core_alone))}; from proxy_core.cli import main; main()"
    command = [sys.executable, "-S", "-c", program, "serve", "--demo", "--port", "0"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=60)

    assert done.returncode == 2
    assert done.stderr == "proxy-core: --demo needs one more package: pip install proxy-plugin-devkit\n"
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("file", "arguments", "reason"),
    [
        ("", ("--disable-plugin", "devkit"), "--demo: the plugin devkit is disabled"),
        ("[plugins]\nallowed = ['openai_compat']", (), "--demo: the plugin devkit is not allowed"),
        ("[providers.demo]\nbase_url = 'http://127.0.0.1:1/v1'", (), "providers.demo is already configured"),
    ],
)
async def test_if_the_store_is_unavailable_the_proxy_does_not_start(tmp_path, file, arguments, reason):
    (tmp_path / "proxy-core.toml").write_text(file)

    code, output = await run(tmp_path, "serve", "--demo", "--port", "0", *arguments)

    assert code == 2
    assert reason in output
    assert "Traceback" not in output


async def test_the_flag_wins_over_the_file_and_every_worker_has_it(tmp_path):
    (tmp_path / "proxy-core.toml").write_text("[plugins.devkit]\ndemo = false\n")
    variables = {"PROXY_API_KEY": "some-key", "PROXY_PLUGINS__DEVKIT__DEMO": "false"}
    async with serving(tmp_path, "--demo", "--workers", "2", **variables) as program, httpx.AsyncClient() as client:
        responses = [
            await client.post(
                f"{program.url}/v1/chat/completions", json=CHAT, headers={**KEY, "connection": "close"}, timeout=20
            )
            for _ in range(6)
        ]

    assert {response.status_code for response in responses} == {200}


async def test_doctor_reports_a_demo_that_was_left_on(tmp_path):
    _, output = await run(tmp_path, "doctor", PROXY_PLUGINS__DEVKIT__DEMO="true")

    assert "every client can use the demo models" in output


async def test_the_benchmarks_are_a_command(tmp_path):
    code, output = await run(tmp_path, "bench", "--help")

    assert code == 0
    assert "with a bare relay" in output
