"""Plugins that are single files: found without being run, loaded as installed ones are, and again when they change."""

import asyncio
import json
import re
import sys
from contextlib import asynccontextmanager

import httpx
import pytest

from proxy_core.testing.program import environment
from proxy_plugin_devkit.single_files import single_files, write_entry_points

PLUGIN = """
import proxy_core
from _words import WORD
PLUGIN = proxy_core.PluginInfo(name="guard", api=1)
@proxy_core.hookimpl
def proxy_sanitizers(ctx):
    def refuse(request):
        raise proxy_core.BadRequest(f"{WORD} one")
    return [proxy_core.Sanitizer(name="refuse", request=refuse)]
"""
CHAT = {"model": "demo/small", "messages": [{"role": "user", "content": "hi"}]}


def test_files_are_named_as_their_plugins_without_being_run(tmp_path):
    (tmp_path / "a.py").write_text("raise SystemExit\nPLUGIN: object = PluginInfo(api=1, name='parrot')\n")
    (tmp_path / "half.py").write_text("def (")
    (tmp_path / "_shared.py").write_text("")
    (tmp_path / "test_a.py").write_text("")

    assert [(plugin.name, plugin.file.name) for plugin in single_files(tmp_path)] == [
        ("parrot", "a.py"),
        ("half", "half.py"),
    ]


def test_the_entry_points_are_those_of_the_files_that_are_there_now(tmp_path):
    plugins, site = tmp_path / "plugins", tmp_path / "site"
    plugins.mkdir()
    site.mkdir()
    (plugins / "old.py").write_text("")
    write_entry_points(single_files(plugins), site)

    (plugins / "old.py").rename(plugins / "new.py")
    write_entry_points(single_files(plugins), site)

    assert sorted(path.relative_to(site).as_posix() for path in site.rglob("*")) == [
        "dev_new-0+dev.dist-info",
        "dev_new-0+dev.dist-info/METADATA",
        "dev_new-0+dev.dist-info/entry_points.txt",
        "dev_new.py",
    ]


class Output:
    """What a program has printed so far."""

    def __init__(self):
        self.text = ""

    async def has(self, pattern, after=0):
        """The match of ``pattern`` in what was printed after this many characters, as soon as there is one."""
        async with asyncio.timeout(60):
            while not (found := re.compile(pattern, re.DOTALL).search(self.text, after)):
                await asyncio.sleep(0.02)
        return found


@asynccontextmanager
async def dev(home, *arguments):
    command = [sys.executable, "-m", "proxy_core", "dev", "--plugins-dir", str(home / "plugins"), *arguments]
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=home,
        env=environment(home, PROXY_API_KEY="some-key"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = Output()

    async def read():
        while data := await process.stdout.read(4096):
            output.text += data.decode()

    reading = asyncio.create_task(read())
    try:
        yield output, process
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), 30)
        await asyncio.wait_for(reading, 30)  # the proxy has ended, too


async def refusal(url):
    async with httpx.AsyncClient() as client:
        headers = {"authorization": "Bearer some-key"}
        response = await client.post(f"{url}/v1/chat/completions", json=CHAT, headers=headers, timeout=60)
    return response.json()["error"]["message"]


@pytest.fixture
def home(tmp_path):
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "guard.py").write_text(PLUGIN)
    (tmp_path / "plugins" / "_words.py").write_text("WORD = 'first'\n")
    return tmp_path


@pytest.mark.slow
async def test_a_changed_plugin_is_loaded_again_and_one_that_cannot_be_is_reported(home):
    async with dev(home, "--demo", "--port", "0") as (output, _):
        started = await output.has(r"listens on (\S+).*providers:")
        first = await refusal(started[1])

        seen = len(output.text)
        (home / "plugins" / "guard.py").write_text(PLUGIN.replace("one", "two"))
        started = await output.has(r"changed: guard\.py.*listens on (\S+).*providers:", seen)
        second = await refusal(started[1])

        seen = len(output.text)
        (home / "plugins" / "guard.py").write_text("def (")
        await output.has(r"SyntaxError", seen)

        seen = len(output.text)
        (home / "plugins" / "guard.py").write_text(PLUGIN.replace("one", "three"))
        started = await output.has(r"listens on (\S+).*providers:", seen)
        third = await refusal(started[1])

    assert (first, second, third) == ("first one", "first two", "first three")


@pytest.mark.slow
async def test_another_command_runs_once_with_the_plugins(home):
    async with dev(home, "plugins", "--json") as (output, process):
        code = await asyncio.wait_for(process.wait(), 60)
    listed = json.loads(output.text[output.text.index("\n{") :])

    plugin = next(plugin for plugin in listed["plugins"] if plugin["name"] == "guard")
    assert code == 0
    assert (plugin["state"], plugin["hooks"], plugin["distribution"]) == ("active", ["proxy_sanitizers"], "dev-guard")
