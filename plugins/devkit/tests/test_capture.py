"""A request captured from a running proxy is replayed offline, and becomes a test."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from pydantic import SecretStr

from proxy_core.cli.api import StoredCredential, Vault
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
#: A provider with logins only, which puts a detail of the login into its requests, and one with sockets of its own.
OTHERS = """
import proxy_core
PLUGIN = proxy_core.PluginInfo(name="quiet", api=1)
def encode(call, credential):
    token = ("authorization", "Bearer " + credential.secret.get_secret_value())
    body = {**call.body, "project": credential.details["project"]}
    content = proxy_core.json_bytes(body)
    return proxy_core.UpstreamRequest(url="UPSTREAM/chat/completions", headers=[token], content=content)
def encode_own(call, credential):
    return proxy_core.UpstreamRequest(url="own:chat", headers=[], content=proxy_core.json_bytes(call.body))
async def send(request, credential):
    with open("WHO", "a") as sent:
        sent.write("sent ")
    body = b'{"choices": [{"index": 0, "message": {"role": "assistant", "content": "own"}, "finish_reason": "stop"}]}'
    return proxy_core.ProviderResponse(status=200, headers={"content-type": "application/json"}, body=body)
@proxy_core.hookimpl
def proxy_providers(ctx):
    chat = ["openai_chat"]
    return [
        proxy_core.Provider(name="login", dialects=chat, encode=encode, credential_kind="tried_oauth"),
        proxy_core.Provider(name="own", dialects=chat, encode=encode_own, send=send, credential_optional=True),
    ]
@proxy_core.hookimpl
def proxy_credential_refreshers(ctx):
    async def refresh(credential, http):
        raise proxy_core.LoginRequired("never")
    return [proxy_core.CredentialRefresher(kind="tried_oauth", refresh=refresh)]
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

    def install(who, text=QUIET):
        site = tmp_path / "site"
        info = site / "quiet-1.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        (site / "quiet_plugin.py").write_text(text.replace("WHO", who))
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


async def test_a_test_of_a_plugin_in_a_single_file_loads_it_from_its_folder(home, upstream, quiet):
    upstream.responds()
    file, _ = await captured(home, chat(), **quiet("nobody"))
    plugins = home / "plugins"
    plugins.mkdir()
    (plugins / "quiet.py").write_text(QUIET.replace("WHO", "nobody"))

    code, output = await run(home, "dev", "--plugins-dir", str(plugins), "replay", str(file), "--test", "tests")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "anyio_mode=auto", "tests"]
    done = subprocess.run(command, cwd=home, env=environment(home), capture_output=True, text=True, timeout=120)

    assert code == 0, output
    assert done.returncode == 0, done.stdout


async def test_a_login_is_replayed_with_its_details_and_without_its_token(home, upstream, quiet):
    variables = quiet("", OTHERS.replace("UPSTREAM", upstream.url))
    token = "an-access-token-0123456789"
    login = StoredCredential(
        provider="login",
        name="ann",
        kind="tried_oauth",
        access_token=SecretStr(token),
        refresh_token=SecretStr("a-refresh-token-0123456789"),
        expires_at=datetime.now(UTC) + timedelta(days=1),
        identity="ann@example.com",
        details={"project": "p-1", "client_secret": SecretStr("a-client-secret-0123456789")},
    )
    Vault(home / "data" / "proxy-core" / "credentials").add(login)
    upstream.responds()
    file, response = await captured(home, chat(model="login/small"), **variables)
    seen = len(upstream.requests)

    code, output = await run(home, "replay", str(file), **variables)

    kept = file.read_text()
    assert response.status_code == 200, response.text
    assert upstream.last.json["project"] == "p-1"
    assert not any(secret in kept for secret in (token, "a-refresh-token", "a-client-secret"))
    assert (code, output) == (0, "no difference: 1 sent, answered 200\n")
    assert len(upstream.requests) == seen


async def test_what_a_provider_sends_over_its_own_sockets_is_replayed_without_them(home, quiet):
    sent = home / "sent"
    variables = quiet(str(sent), OTHERS)
    file, response = await captured(home, chat(model="own/small"), **variables)

    code, output = await run(home, "replay", str(file), **variables)

    assert response.json()["choices"][0]["message"]["content"] == "own"
    assert (code, output) == (0, "no difference: 1 sent, answered 200\n")
    assert sent.read_text() == "sent "


async def test_without_a_redactor_nothing_is_captured(home):
    code, output = await run(home, "capture", "kept", "--port", "0", "--disable-plugin", "redaction")

    assert code == 2
    assert "pip install proxy-plugin-redaction" in output


async def test_a_file_that_is_no_capture_is_named(home):
    (home / "x.json").write_text("{}")

    code, output = await run(home, "replay", "x.json")

    assert code == 2
    assert "x.json is no capture" in output
