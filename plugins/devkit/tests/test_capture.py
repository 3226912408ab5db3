"""A request captured from a running proxy is replayed offline, and becomes a test."""

import json
import subprocess
import sys

import httpx
import pytest

from proxy_core.testing import FakeUpstream, run
from proxy_core.testing.program import environment, start

SECRET, CLIENT = "sk-upstream-key-0123456789", "client-key-0123456789"
QUIET = """
import proxy_core
PLUGIN = proxy_core.PluginInfo(name="quiet", api=1)
@proxy_core.hookimpl
def proxy_sanitizers(ctx):
    def quiet(request):
        return request.with_body({**request.body, "user": "WHO"})
    return [proxy_core.Sanitizer(name="quiet", request=quiet)]
"""


@pytest.fixture
async def upstream():
    async with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture
def home(tmp_path, upstream):
    (tmp_path / "proxy-core.toml").write_text(
        f"[clients.me]\nkey = '{CLIENT}'\n[providers.home]\nbase_url = '{upstream.url}'\n"
        f"api_keys = ['{SECRET}', '{SECRET}-2']\n[models]\nfast = ['home/small']\n"
    )
    return tmp_path


async def captured(home, body, **variables):
    """The file that ``capture`` keeps of one request, and what the client got."""
    process = await start(home, "capture", "kept", "--port", "0", "--count", "1", **variables)
    output = ""
    while "captures on" not in output or not output.endswith("\n"):
        line = await process.stdout.readline()
        assert line, output
        output += line.decode()
    url = output.partition("captures on ")[2].split()[0]
    async with httpx.AsyncClient() as client:
        headers = {"authorization": f"Bearer {CLIENT}"}
        response = await client.post(f"{url}/v1/chat/completions", json=body, headers=headers, timeout=60)
    output += (await process.stdout.read()).decode()
    assert await process.wait() == 0, output
    (file,) = (home / "kept").iterdir()
    return file, response


def chat(**fields):
    return {"model": "fast", "messages": [{"role": "user", "content": "hi"}], **fields}


async def test_a_capture_has_every_exchange_and_no_key_and_replays_without_the_upstream(home, upstream):
    upstream.for_key(SECRET).responds(429, headers={"retry-after": "30"})
    upstream.for_key(f"{SECRET}-2").streams("hel", "lo")
    file, response = await captured(home, chat(stream=True, user="mail ann@example.com"))
    seen = len(upstream.requests)
    kept = json.loads(file.read_text())

    code, output = await run(home, "replay", str(file))

    assert [exchange["status"] for exchange in kept["exchanges"]] == [429, 200]
    assert kept["request"]["body"]["model"] == "fast"
    assert "hel" in response.text
    assert SECRET not in file.read_text()
    assert CLIENT not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    assert (code, output) == (0, "no difference: 2 sent, answered 200\n")
    assert len(upstream.requests) == seen


@pytest.fixture
def quiet(tmp_path):
    """A plugin whose text is given, on the path of Python's packages."""

    def install(who):
        site = tmp_path / "site"
        info = site / "quiet-1.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        (site / "quiet_plugin.py").write_text(QUIET.replace("WHO", who))
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: quiet\nVersion: 1\n")
        (info / "entry_points.txt").write_text("[proxy_core.plugins]\nquiet = quiet_plugin\n")
        return {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}

    return install


async def test_what_a_changed_plugin_sends_otherwise_is_shown_and_fails_the_test_made_of_the_capture(
    home, upstream, quiet
):
    upstream.responds()
    variables = quiet("nobody")
    file, _ = await captured(home, chat(), **variables)
    same_code, same = await run(home, "replay", str(file), "--test", "tests", **variables)

    def tested():
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "anyio_mode=auto", "tests"]
        done = subprocess.run(
            command, cwd=home, env=environment(home, **variables), capture_output=True, text=True, timeout=120
        )
        return done.returncode, done.stdout

    passed, printed = tested()
    quiet("somebody")
    failed, reason = tested()
    code, output = await run(home, "replay", str(file), **variables)

    assert same_code == 0, same
    assert passed == 0, printed
    assert failed == 1
    assert '"user": "somebody"' in reason
    assert code == 1
    assert '-    "user": "nobody"' in output
    assert '+    "user": "somebody"' in output


async def test_without_a_redactor_nothing_is_captured(home):
    code, output = await run(home, "capture", "kept", "--port", "0", "--disable-plugin", "redaction")

    assert code == 2
    assert "pip install proxy-plugin-redaction" in output


async def test_a_file_that_is_no_capture_is_named(home):
    (home / "x.json").write_text("{}")

    code, output = await run(home, "replay", "x.json")

    assert code == 2
    assert "x.json is no capture" in output
