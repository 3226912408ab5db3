"""``proxy-core top`` on a screen without a terminal, and as plain text, in front of real proxies."""

import asyncio
import os
import ssl
import tempfile
from pathlib import Path

import httpx
import pytest
import trustme
from click.testing import CliRunner
from pydantic import SecretStr

from proxy_core.testing import serving
from proxy_plugin_top.app import Pane, Top
from proxy_plugin_top.command import command_of
from proxy_plugin_top.sources import RemoteProxy, Unreadable

ADMIN = "the-admin-key"
WORK, PRIVATE = "key-of-the-account-at-work", "key-of-the-private-account"
TOLD = {"error": {"message": f"No more today, says {WORK}. \x1b[2J[red]red[/red]", "code": "rate_limit_exceeded"}}
PRICES = {"small": {"input_price": 1000.0, "output_price": 1000.0}}


@pytest.fixture
def home():
    """A short one: with a long path the sockets are elsewhere."""
    with tempfile.TemporaryDirectory(prefix="pc-") as folder:
        yield Path(folder)


@pytest.fixture
def two_accounts(make_proxy, upstream):
    """Of which ``work`` is used up for two hours."""

    async def make(**tables):
        upstream.for_key(WORK).responds(429, TOLD, headers={"retry-after": "7200"})
        keys = [{"key": WORK, "label": "work"}, {"key": PRIVATE, "label": "private"}]
        provider = {"base_url": upstream.url, "api_keys": keys, "models": PRICES}
        routing = {"selector": "sequential", "max_wait_s": 60}
        settings = {"providers": {"demo": provider}, "routing": routing, "admin": {"key": ADMIN}, **tables}
        return await make_proxy(settings)

    return make


def root(proxy):
    return proxy.url.removesuffix("/v1")


def remote(proxy, key=ADMIN):
    return RemoteProxy(root(proxy), SecretStr(key))


async def until(question, within_s=60.0):
    async with asyncio.timeout(within_s):
        while not (answer := question()):
            await asyncio.sleep(0.02)
    return answer


def screen(app):
    """Everything that is drawn, as text."""
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


async def test_two_accounts_one_used_up_which_one_until_when_and_what_today_cost(two_accounts):
    proxy = await two_accounts()
    for _ in range(3):
        assert (await proxy.chat("demo/small", "hi")).status == 200
    app = Top([remote(proxy)], every_s=0.5)

    async with app.run_test(size=(120, 40)) as pilot:
        # Parts of one picture may be drawn one after the other.
        await until(lambda: "3 requests" in screen(app) and screen(app).count("demo/small") == 3)
        text = screen(app)
        await pilot.press("q")

    assert "1 of 2 usable; work used up until" in text
    assert "(2 h)" in text
    assert "○ work" in text
    assert "● private" in text
    assert "No more today, says" in text
    assert "[red]red[/red]" in text
    assert text.count("demo/small") == 3
    assert not any(secret in text for secret in (WORK, PRIVATE, ADMIN, proxy.key))


async def test_a_change_is_shown_soon(two_accounts):
    proxy = await two_accounts()
    app = Top([remote(proxy)], every_s=0.5)

    async with app.run_test(size=(100, 40)):
        await until(lambda: "no request yet" in screen(app))
        await proxy.chat("demo/small", "hi")
        await until(lambda: "demo/small" in screen(app))
        await until(lambda: "work used up" in screen(app))


async def test_on_a_low_screen_the_summary_is_seen(two_accounts):
    proxy = await two_accounts()
    await proxy.chat("demo/small", "hi")
    app = Top([remote(proxy)], every_s=0.5)

    async with app.run_test(size=(40, 12)):
        await until(lambda: "1 of 2 usable" in screen(app))


@pytest.mark.parametrize("key", ["q", "escape", "ctrl+c"])
async def test_these_keys_end_it(two_accounts, key):
    app = Top([remote(await two_accounts())], every_s=0.5)

    async with app.run_test(size=(120, 40)) as pilot:
        await until(lambda: "no request yet" in screen(app))
        await pilot.press(key)
        await until(lambda: not app.is_running or app._exit)


async def test_several_remotes_stand_side_by_side_or_below_one_another_where_it_is_narrow(make_proxy):
    names = ("one", "two")
    proxies = [
        await make_proxy(
            {"providers": {n: {"base_url": "http://127.0.0.1:9/v1", "api_keys": ["k"]}}, "admin": {"key": ADMIN}}
        )
        for n in names
    ]
    app = Top([remote(proxy) for proxy in proxies], every_s=0.5)

    async with app.run_test(size=(160, 40)) as pilot:
        await until(lambda: screen(app).count("all 1 usable") == 2)
        wide = [pane.region for pane in app.query(Pane)]
        await pilot.resize_terminal(70, 40)
        await until(lambda: len({pane.region.x for pane in app.query(Pane)}) == 1)
        narrow = [pane.region for pane in app.query(Pane)]
        await pilot.resize_terminal(12, 5)
        await pilot.resize_terminal(160, 50)
        await until(lambda: screen(app).count("all 1 usable") == 2)

    assert wide[0].y == wide[1].y
    assert wide[0].right <= wide[1].x
    assert narrow[0].bottom <= narrow[1].y


async def test_a_remote_that_is_down_says_why():
    app = Top([RemoteProxy("http://127.0.0.1:9", SecretStr(ADMIN))], every_s=0.5)

    async with app.run_test(size=(120, 40)):
        await until(lambda: "it cannot be reached" in screen(app))
        assert "trying again in" in screen(app)


async def test_the_last_picture_stays_while_the_proxy_is_away(two_accounts):
    proxy = await two_accounts()
    await proxy.chat("demo/small", "hi")

    class Moody(RemoteProxy):
        away = False

        async def read(self):
            if self.away:
                raise Unreadable("it cannot be reached: gone")
            return await super().read()

    source = Moody(root(proxy), SecretStr(ADMIN))
    app = Top([source], every_s=0.5)

    async with app.run_test(size=(120, 40)) as pilot:
        await until(lambda: "work used up" in screen(app))
        source.away = True
        await pilot.press("r")
        await until(lambda: "gone; trying again" in screen(app))
        assert "work used up" in screen(app)
        source.away = False
        await pilot.press("r")
        await until(lambda: "gone" not in screen(app))


async def test_paused_it_does_not_read(two_accounts):
    proxy = await two_accounts()

    class Counting(RemoteProxy):
        reads, reading = 0, False

        async def read(self):
            self.reads, self.reading = self.reads + 1, True
            try:
                return await super().read()
            finally:
                self.reading = False

    source = Counting(root(proxy), SecretStr(ADMIN))
    app = Top([source], every_s=0.5)

    async with app.run_test(size=(120, 40)) as pilot:
        await until(lambda: "no request yet" in screen(app))
        await pilot.press("p")
        await until(lambda: not source.reading)
        before = source.reads
        await proxy.chat("demo/small", "hi")
        await asyncio.sleep(1.2)
        assert source.reads == before
        await pilot.press("p")
        await until(lambda: "no request yet" not in screen(app))


async def test_a_wrong_key_is_told_and_never_shown(two_accounts):
    proxy = await two_accounts()
    source = remote(proxy, "a-wrong-admin-key")

    with pytest.raises(Unreadable, match="does not accept this admin key") as caught:
        await source.read()
    await source.aclose()

    assert caught.value.hopeless
    assert "a-wrong" not in repr(vars(caught.value)) + str(caught.value)


async def test_several_workers_of_a_program_and_the_command_of_this_installation(home, upstream):
    upstream.responds()
    names = {"PROXY_API_KEY": "some-key", "DEMO_API_BASE": upstream.url, "DEMO_API_KEY": "sk-demo-key"}
    data = {"PROXY_DATA_DIR": str(home / "data")}
    body = {"model": "demo/small", "messages": [{"role": "user", "content": "hi"}]}
    headers = {"authorization": "Bearer some-key"}
    async with serving(home, **names, **data) as program, httpx.AsyncClient() as client:
        await client.post(f"{program.url}/v1/chat/completions", json=body, headers=headers, timeout=20)
        async with asyncio.timeout(60):
            text = ""
            while "1 request" not in text:  # until the store has it
                code, text = await asyncio.to_thread(top, home)
        key = (home / "data" / "admin.key").read_text().strip()
    gone = await asyncio.to_thread(top, home)

    assert code == 0, text
    assert "accounts all 1 usable" in text
    assert "sk-demo-key" not in text
    assert key not in text
    assert gone[0] == 1
    assert "no running proxy found" in gone[1]


def top(folder, *arguments, key=None, stdin=None, **variables):
    names = {"PROXY_DATA_DIR": str(folder / "data"), "HOME": str(folder), **variables}
    command = command_of(SecretStr(key) if key else None)
    before = os.getcwd()
    os.chdir(folder)
    try:
        result = CliRunner().invoke(command, arguments, env=names, input=stdin)
    finally:
        os.chdir(before)
    return result.exit_code, result.output


async def test_plain_text_of_several_remotes_with_a_key_for_each(two_accounts, tmp_path):
    proxies = [await two_accounts(), await two_accounts(admin={"key": "another-admin-key"})]
    for name, key in (("one", ADMIN), ("two", "another-admin-key\n")):
        (tmp_path / name).write_text(key)
    await proxies[0].chat("demo/small", "hi")
    files = ("--key-file", str(tmp_path / "one"), "--key-file", str(tmp_path / "two"))
    urls = [root(proxies[0]) + "/v1/", root(proxies[1])]
    code, text = await asyncio.to_thread(top, tmp_path, *urls, *files)
    swapped, told = await asyncio.to_thread(top, tmp_path, *reversed(urls), *files)
    by_variable = await asyncio.to_thread(top, tmp_path, urls[0], key=ADMIN)

    assert (code, text.count("accounts ")) == (0, 2)
    assert "work used up until" in text
    assert "\x1b" not in text
    assert (swapped, told.count("does not accept this admin key")) == (1, 2)
    assert by_variable[0] == 0
    assert not any(secret in text + told for secret in (ADMIN, "another-admin-key", WORK, PRIVATE))


MISTAKES = [
    (["ftp://x"], "a URL is like"),
    (["http://127.0.0.1:99999"], "a URL is like"),
    (["https://"], "a URL is like"),
    (["https://me:secret-word@x"], "no user, password or query"),
    (["https://x/?key=secret-word"], "no user, password or query"),
    (["http://proxy.example"], "unencrypted"),
    (["https://proxy.example"], "the admin key is missing"),
    (["https://proxy.example", "--key-file", "nothing"], "cannot be read"),
    (["https://proxy.example", "--key-file", "empty"], "holds no key"),
    (["https://proxy.example", "--key-file", "lines"], "holds no key"),
    (["https://proxy.example", "--key-file", "bytes"], "holds no key"),
    (["https://a.example", "--key-file", "lines", "--key-file", "lines"], "one for each URL"),
    (["--key-file", "lines"], "give a URL"),
]


@pytest.mark.parametrize(("arguments", "words"), MISTAKES)
def test_a_mistake_is_told_without_a_key(tmp_path, arguments, words):
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "lines").write_text("secret-word\nsecret-word")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    code, text = top(tmp_path, *arguments)

    assert code == 2
    assert words in " ".join(text.split())
    assert "secret-word" not in text
    assert "Traceback" not in text


# --- Answers of strangers ----------------------------------------------------------------


async def answered(handler, **more):
    """What is told of a server that answers so."""
    server = await asyncio.start_server(handler, "127.0.0.1", 0, **more)
    port = server.sockets[0].getsockname()[1]
    url = f"{'https' if more else 'http'}://127.0.0.1:{port}"
    source = RemoteProxy(url, SecretStr(ADMIN))
    try:
        async with server:
            await source.read()
    except Unreadable as error:
        return str(error)
    finally:
        await source.aclose()
    return ""


def says(status="200 OK", body=b"{}", headers=""):
    async def handler(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{headers}\r\n".encode() + body)
        await writer.drain()
        writer.close()

    return handler


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (says(), "no process of it answers"),
        (says(body=b"<html>"), "not that of a proxy-core"),
        (says(body=b"[]"), "not that of a proxy-core"),
        (says(body=b'{"processes": [{"version": 1}]}'), "another version"),
        (says(body=b'{"processes": 7}'), "another version"),
        (says("404 Not Found"), "no proxy-core at this address"),
        (says("302 Found", headers="location: http://127.0.0.1:1/\r\n"), "redirects elsewhere"),
        (says("500 Internal Server Error"), "status 500"),
        (says("401 Unauthorized"), "does not accept"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_an_answer_that_is_not_a_status_is_told(handler, words):
    assert words in await answered(handler)


async def test_a_certificate_that_nobody_vouches_for_is_refused_and_that_of_an_own_authority_not(tmp_path, monkeypatch):
    context, authority = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), trustme.CA()
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))

    assert "certificate verify failed" in (await answered(says(), ssl=context)).lower()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    assert await answered(says(), ssl=context) == "no process of it answers"
