"""Logins on real sockets: a browser that comes back, a person who pastes, another device."""

import asyncio
import socket
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from proxy_core import LoginFailed, LoginRequired
from proxy_core.testing import FakeOAuthServer, ScriptedPrompt, open_exchange
from proxy_core.testing.credentials import StoredCredential
from proxy_plugin_oauth import OAuthClient, OAuthRefused, authorize, device_login, loopback_login
from proxy_plugin_oauth.testing import example_refresher

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
async def server():
    async with FakeOAuthServer() as running:
        yield running


@pytest.fixture
async def exchange():
    async with open_exchange() as running:
        yield running


def asked(link):
    return {k: v[0] for k, v in parse_qs(urlsplit(link).query).items()}


# --- Browser and paste -------------------------------------------------------------------


async def test_a_browser_logs_in_and_the_port_is_free_again(server, exchange):
    prompt = ScriptedPrompt(browser=True)

    tokens = await example_refresher(server.base).login(prompt, exchange)

    assert tokens.identity == "dev@example.com"
    assert "Done" in prompt.pages[0][1]
    with socket.socket() as sock:
        assert sock.connect_ex(("127.0.0.1", urlsplit(asked(prompt.links[0])["redirect_uri"]).port)) != 0


async def test_over_ssh_the_address_is_pasted(server, exchange):
    prompt = ScriptedPrompt()
    login = asyncio.ensure_future(example_refresher(server.base).login(prompt, exchange))
    async with httpx.AsyncClient() as elsewhere:
        redirect = (await elsewhere.get(await prompt.shown())).headers["location"]
    prompt.pastes.extend(["hl=en", redirect])

    tokens = await login

    assert tokens.refresh_token is not None
    assert any("Not accepted" in words for words in prompt.lines)


async def test_a_page_that_shows_a_code_needs_no_port(server, exchange):
    prompt = ScriptedPrompt()
    login = asyncio.ensure_future(example_refresher(server.base, login="code").login(prompt, exchange))
    await prompt.open(await prompt.shown())
    prompt.pastes.append(prompt.pages[0][1].removeprefix("<p>").removesuffix("</p>"))

    assert (await login).access_token is not None
    assert asked(prompt.links[0])["redirect_uri"] == f"{server.base}/authcode"


async def test_a_refusal_ends_the_login_and_its_page_is_escaped(server, exchange):
    server.denies = True
    prompt = ScriptedPrompt(browser=True)

    with pytest.raises(LoginFailed, match="access_denied"):
        await example_refresher(server.base).login(prompt, exchange)

    await asyncio.sleep(0.05)
    assert "&lt;b&gt;no&lt;/b&gt;" in prompt.pages[0][1]


@pytest.fixture
async def waiting():
    """A login that waits: its prompt, its redirect address, its state, its task."""
    prompt = ScriptedPrompt()
    task = asyncio.ensure_future(
        authorize(prompt, authorize_url="http://127.0.0.1:1/a", client_id="x", scope="s", timeout_s=5)
    )
    about = asked(await prompt.shown())
    yield prompt, about["redirect_uri"], about["state"], task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


BAD = [
    ({"url": "?code=c&state=wrong"}, 400),
    ({"url": "?code=c"}, 400),
    ({"url": "?code=c&state={state}&state=x"}, 400),
    ({"url": "?error=access_denied&state=wrong"}, 400),
    ({"url": "?state={state}"}, 400),
    ({"url": "/more?code=c&state={state}"}, 404),
    ({"url": "?code=c&state={state}", "method": "POST"}, 405),
    ({"url": "?code=c&state={state}", "headers": {"host": "evil.example"}}, 421),
]


@pytest.mark.parametrize(("how", "status"), BAD)
async def test_only_the_right_request_is_taken_and_the_login_goes_on(waiting, how, status):
    _, redirect, state, task = waiting
    async with httpx.AsyncClient() as client:
        url = redirect + how["url"].format(state=state)
        reply = await client.request(how.get("method", "GET"), url, headers=how.get("headers"))
        good = await client.get(f"{redirect}?code=c&state={state}")

    assert (reply.status_code, good.status_code) == (status, 200)
    assert (await task).code == "c"


async def test_rubbish_and_silence_do_not_end_the_login(waiting):
    _, redirect, state, task = waiting
    port = urlsplit(redirect).port
    for data in (b"\x16\x03\x01\r\n\r\n", b"GET / HTTP/1.1\r\n", b"x" * 100_000):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        writer.close()
    async with httpx.AsyncClient() as client:
        await client.get(f"{redirect}?code=c&state={state}")

    assert (await task).code == "c"


async def test_the_page_keeps_nothing_and_runs_nothing(waiting):
    _, redirect, state, _ = waiting
    async with httpx.AsyncClient() as client:
        reply = await client.get(f"{redirect}?code=c&state={state}")

    assert reply.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in reply.headers["content-security-policy"]


async def test_a_taken_port_is_reported(server, exchange):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        client = OAuthClient(client_id="x", token_url=server.token_url)
        with pytest.raises(LoginFailed, match=f"port {port} on 127.0.0.1 is not available"):
            await loopback_login(ScriptedPrompt(), exchange, client, authorize_url=server.base, scope="", port=port)


@pytest.mark.parametrize("end", ["time", "cancel"])
async def test_the_port_is_free_again_however_it_ends(end):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    task = asyncio.ensure_future(
        authorize(ScriptedPrompt(), authorize_url="http://h/", client_id="x", scope="", port=port, timeout_s=0.1)
    )
    await asyncio.sleep(0.02)
    if end == "cancel":
        task.cancel()

    with pytest.raises(LoginFailed if end == "time" else asyncio.CancelledError):
        await task
    socket.create_server(("127.0.0.1", port)).close()


async def test_a_wrong_client_is_reported_as_such(server, exchange):
    client = OAuthClient(client_id="wrong", token_url=server.token_url)
    with pytest.raises(OAuthRefused, match="invalid_client"):
        await loopback_login(
            ScriptedPrompt(browser=True), exchange, client, authorize_url=f"{server.base}/authorize", scope=""
        )


async def test_a_login_can_be_tested_and_revoked(server, exchange):
    refresher = example_refresher(server.base)
    tokens = await refresher.login(ScriptedPrompt(browser=True), exchange)
    blank = StoredCredential(provider="example", name="x", kind=refresher.kind)
    credential = blank.with_tokens(tokens).credential(str)

    assert await refresher.test(credential, exchange) == "dev@example.com"
    server.revoke_all()
    with pytest.raises(LoginRequired):
        await refresher.test(credential, exchange)


# --- Device ------------------------------------------------------------------------------


class Waits:
    """Instead of sleeping: remembers, and lets the test act."""

    def __init__(self, *acts):
        self.seconds = []
        self.acts = list(acts)

    async def __call__(self, seconds):
        self.seconds.append(round(seconds, 1))
        if self.acts:
            act = self.acts.pop(0)
            if act is not None:
                act()


async def log_in(server, exchange, waits, prompt=None, **more):
    from proxy_core.testing.oauth import CLIENT_ID

    client = OAuthClient(client_id=CLIENT_ID, token_url=server.token_url)
    url = f"{server.base}/device/code"
    return await device_login(
        prompt or ScriptedPrompt(), exchange, client, device_url=url, scope="openid", sleep=waits, **more
    )


async def test_a_code_typed_in_elsewhere_logs_in(server, exchange):
    prompt = ScriptedPrompt()
    waits = Waits(None, lambda: server.approve(prompt.codes[0]))

    tokens = await log_in(server, exchange, waits, prompt)

    assert tokens.identity == "dev@example.com"
    assert prompt.links == [f"{server.base}/device?user_code={prompt.codes[0]}"]


async def test_slow_down_adds_five_seconds_for_good(server, exchange):
    prompt = ScriptedPrompt()
    waits = Waits(server.slow_down, server.slow_down, None, lambda: server.approve(prompt.codes[0]))

    await log_in(server, exchange, waits, prompt)

    assert waits.seconds == [0, 5, 10, 10]


async def test_trouble_on_the_way_does_not_end_the_wait(server, exchange):
    prompt = ScriptedPrompt()
    server.fails(502, b"<html>")
    server.resets()
    server.fails(200, b"<html>firewall</html>")
    server.fails(500, b"{}")
    waits = Waits(*[None] * 4, lambda: server.approve(prompt.codes[0]))

    assert (await log_in(server, exchange, waits, prompt)).access_token is not None


@pytest.mark.parametrize(("act", "words"), [("deny", "denied"), ("expire", "expired"), ("forget", "no longer|expired")])
async def test_a_refused_or_expired_code_is_reported(server, exchange, act, words):
    prompt = ScriptedPrompt()
    acts = {
        "deny": lambda: server.deny(prompt.codes[0]),
        "expire": server.expire_devices,
        "forget": server._devices.clear,
    }
    with pytest.raises(LoginFailed, match=words):
        await log_in(server, exchange, Waits(acts[act]), prompt)


async def test_a_device_code_that_is_never_entered_expires(exchange):
    async with FakeOAuthServer(device_life_s=1, device_interval_s=0.4) as server:
        with pytest.raises(LoginFailed, match=r"within 1 seconds|expired"):
            await log_in(server, exchange, asyncio.sleep)


async def test_a_status_200_that_says_pending_is_one(server, exchange):
    prompt = ScriptedPrompt()
    server.fails(200, b'{"status":"pending","slowDown":true}')
    waits = Waits(None, lambda: server.approve(prompt.codes[0]))

    await log_in(server, exchange, waits, prompt)

    assert waits.seconds == [0, 5]


async def test_cancelling_ends_the_wait(exchange):
    async with FakeOAuthServer(device_interval_s=30) as server:
        task = asyncio.ensure_future(log_in(server, exchange, asyncio.sleep))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 20)


@pytest.mark.parametrize(
    "body",
    [b"<html>", b'{"error":"invalid_client"}', b'{"device_code":"d","user_code":"u","verification_uri":"file:///x"}'],
)
async def test_a_server_without_a_code_is_reported(server, exchange, body):
    server.fails(200, body, path="/device/code")
    with pytest.raises(LoginFailed):
        await log_in(server, exchange, Waits())
