"""Whichever HTTP server runs the proxy, its limits, its end and a client's leaving mean the same."""

import asyncio
import contextlib
import gzip
import json
import re
import shlex
import socket
import struct
import sys
import time
from pathlib import Path

import httpx
import pytest

from proxy_core.cli.api import catalog_of, load
from proxy_core.errors import SettingsError
from proxy_core.server.serve import check_server, listen, serve_app
from proxy_core.settings.schema import ServerSettings
from proxy_core.testing import chunk, run, run_proxy, stall
from proxy_core.testing.program import environment

HEAD = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"


async def connected(proxy):
    return await asyncio.open_connection("127.0.0.1", int(proxy.url.split(":")[2].removesuffix("/v1")))


def chat_request(proxy, *, stream):
    body = json.dumps({"model": "demo/small", "messages": [{"role": "user", "content": "hi"}], "stream": stream})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {proxy.key}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def _most_waiting():
    file = Path("/proc/sys/net/core/somaxconn")
    return int(file.read_text()) if file.exists() else 0


async def answer_of(reader):
    """The head and the body of one response with a content-length."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    return head, await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))


async def closed_s(reader, limit_s=20):
    """How long until the server closes the connection, whatever it says before."""
    began = asyncio.get_running_loop().time()
    async with asyncio.timeout(limit_s):
        with contextlib.suppress(ConnectionError):
            await reader.read()
    return asyncio.get_running_loop().time() - began


# --- Which one ---------------------------------------------------------------------------


async def test_hypercorns_options_are_refused_under_another_server(tmp_path, http_server):
    if http_server == "hypercorn":
        pytest.skip("they are its own")
    code, output = await run(tmp_path, "serve", "--server", http_server, PROXY_SERVER__HYPERCORN__BACKLOG="7")

    assert code == 2
    assert f"server.hypercorn.backlog: Hypercorn's option, but the server is {http_server}" in output


def servers(folder, **tables):
    return catalog_of(load(overrides=tables, environ={}, cwd=folder), ("proxy_http_servers",)).http_servers


@pytest.mark.parametrize(("name", "module"), [("uvicorn", "uvicorn"), ("uvicorn", "httptools"), ("granian", "granian")])
def test_a_server_that_is_not_installed_is_reported_with_what_to_install(monkeypatch, tmp_path, name, module):
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(SettingsError, match=f"{name} is not installed; pip install 'proxy-core\\[{name}\\]'"):
        check_server(ServerSettings(http_server=name), servers(tmp_path))


@pytest.mark.parametrize("name", ["uvicorn", "granian"])
def test_neither_is_there_without_the_package_for_them(tmp_path, name):
    there = servers(tmp_path, plugins={"disabled": ["http_servers"]})

    with pytest.raises(SettingsError, match=f"{name} is not installed; pip install 'proxy-core\\[{name}\\]'"):
        check_server(ServerSettings(http_server=name), there)


async def test_a_server_that_nobody_has_is_reported_with_those_that_are_there(tmp_path):
    code, output = await run(tmp_path, "serve", "--server", "apache")

    assert code == 2
    assert "server.http_server: apache is not installed; there are " in output
    assert "hypercorn" in output


async def test_files_that_are_no_certificate_and_key_are_reported_before_anything_starts(tmp_path, http_server):
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("not in PEM format")
    files = ["--tls-certificate", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem")]

    code, output = await run(tmp_path, "serve", "--port", "0", "--server", http_server, *files)

    assert (code, "server.tls_certificate, server.tls_key: cannot be used" in output) == (2, True), output
    assert "listens on" not in output
    assert "Traceback" not in output


async def test_an_application_that_cannot_be_opened_is_not_served(tmp_path, http_server):
    async def fails(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "OSError"})
        raise OSError("no disk")

    server = ServerSettings(http_server=http_server, port=0)
    chosen, sock = check_server(server, servers(tmp_path)), listen(server)
    serving = serve_app(fails, chosen, server, sock, asyncio.Event(), retire=lambda: None, interrupt=lambda: None)

    with pytest.raises(Exception, match=r"OSError|unhandled errors"):
        await asyncio.wait_for(serving, 20)


PAGE = Path(__file__).parents[2] / "docs" / "operating.md"
COMMANDS = re.findall(r"^    (.+ \"?proxy_core\.runtime:create_app.*)$", PAGE.read_text(), re.MULTILINE)


def test_the_page_has_a_command_for_each_server():
    assert [command.split()[0] for command in COMMANDS] == ["hypercorn", "uvicorn", "granian"]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [[], ["--workers", "2"]], ids=["one", "two workers"])
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.split()[0])
async def test_the_commands_that_the_page_has_for_other_servers_work(tmp_path, upstream, command, workers):
    name, *options = shlex.split(command)
    program = Path(sys.executable).with_name(name)
    if not program.exists():
        pytest.skip(f"needs {name}")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = [option.replace("8000", str(port)) for option in options]
    environ = environment(tmp_path, PROXY_API_KEY="some-client-key", DEMO_API_BASE=upstream.url)
    process = await asyncio.create_subprocess_exec(program, *workers, *options, cwd=tmp_path, env=environ)
    try:
        async with httpx.AsyncClient(headers={"authorization": "Bearer some-client-key"}, timeout=20) as client:
            async with asyncio.timeout(60):
                while True:
                    with contextlib.suppress(httpx.TransportError):
                        await client.get(f"http://127.0.0.1:{port}/healthz")
                        break
                    await asyncio.sleep(0.1)
            body = {"model": "demo/small", "messages": [{"role": "user", "content": "hi"}]}
            reply = await client.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=body)
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 60)

    assert reply.json()["choices"][0]["message"]["content"] == "hello"


# --- Limits ------------------------------------------------------------------------------


async def test_one_connection_serves_more_than_a_thousand_requests(hosted):
    reader, writer = await connected(hosted)
    for _ in range(1100):
        writer.write(HEAD + b"\r\n")
        head, _ = await answer_of(reader)
        assert b"connection: close" not in head
    writer.close()


async def test_pipelined_requests_are_answered_in_order(hosted):
    reader, writer = await connected(hosted)
    writer.write(b"".join(f"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-Id: {n}\r\n\r\n".encode() for n in range(20)))

    heads = [(await answer_of(reader))[0] for _ in range(20)]

    assert [int(head.split(b"x-request-id: ")[1].split(b"\r\n")[0]) for head in heads] == list(range(20))
    writer.close()


@pytest.mark.parametrize("sent", [b"", HEAD, HEAD + b"X-Slow: "], ids=["nothing", "half a head", "half a header"])
async def test_a_connection_without_a_complete_head_is_closed_after_keep_alive_s(make_hosted, sent):
    proxy = await make_hosted(server={"keep_alive_s": 0.5})
    reader, writer = await connected(proxy)
    writer.write(sent)

    assert 0.3 < await closed_s(reader) < 10
    writer.close()


async def test_a_head_that_arrives_byte_by_byte_has_no_more_time(make_hosted):
    proxy = await make_hosted(server={"keep_alive_s": 0.5})
    reader, writer = await connected(proxy)

    async def drip():
        while True:
            writer.write(b"a")
            await asyncio.sleep(0.1)

    writer.write(HEAD)
    dripping = asyncio.ensure_future(drip())
    assert await closed_s(reader) < 10
    dripping.cancel()
    writer.close()


async def test_an_idle_connection_is_closed_after_keep_alive_s_and_not_before(make_hosted):
    proxy = await make_hosted(server={"keep_alive_s": 0.5})
    reader, writer = await connected(proxy)
    for _ in range(4):
        writer.write(HEAD + b"\r\n")
        await answer_of(reader)
        await asyncio.sleep(0.2)

    assert await closed_s(reader) < 10
    writer.close()


async def test_a_response_may_take_longer_than_keep_alive_s(make_hosted, upstream):
    proxy = await make_hosted(server={"keep_alive_s": 0.2})
    upstream.streams("hel", "lo", gap_s=0.5)

    answer = await proxy.chat("demo/small", "hi", stream=True)

    assert (answer.text, answer.done) == ("hello", True)


#: Pieces of a body fill the queue to an application, which answers all of these without having read it.
PIECES = b"Host: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 5000
LEFT = {
    "while it is answered": HEAD + b"\r\n",
    "in a body that is refused": b"POST /v1/chat/completions HTTP/1.1\r\n" + PIECES,
    "in a body to nowhere": b"POST /nowhere HTTP/1.1\r\n" + PIECES,
    "in a body with another method": b"POST /healthz HTTP/1.1\r\n" + PIECES,
}


@pytest.mark.parametrize("sent", LEFT.values(), ids=LEFT)
@pytest.mark.parametrize("answered", [False, True], ids=["at once", "with their answer"])
async def test_nothing_remains_of_clients_that_leave(hosted, sent, answered):
    await hosted.get("/models")
    before = len(asyncio.all_tasks())
    connections = [await connected(hosted) for _ in range(20)]
    for reader, writer in connections:
        writer.write(sent)
        if answered:
            await answer_of(reader)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with asyncio.timeout(10):
        while len(asyncio.all_tasks()) > before:
            await asyncio.sleep(0.02)


#: What a client sends behind its request. Granian stops reading once there is any of it.
BEHIND = {
    "nothing": b"",
    "an empty line": b"\r\n",
    "another request": HEAD + b"\r\n",
    "two more": (HEAD + b"\r\n") * 2,
    "half a head": HEAD,
    "a request with half its body": b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n"
    + b"x" * 999,
}


@pytest.mark.parametrize("later", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["at once", "later"])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("reset", [False, True], ids=["closes", "resets"])
@pytest.mark.parametrize("behind", BEHIND.values(), ids=BEHIND)
async def test_whatever_it_sent_before_a_client_that_leaves_is_noticed(
    make_hosted, http_server, upstream, caplog, behind, reset, stream, later
):
    if http_server == "granian" and behind:
        pytest.skip("granian does not see the end of a connection behind bytes that it has not read")
    proxy = await make_hosted({"shutdown_grace_s": 30})
    upstream.says(*([chunk({"content": "hel"})] if stream else []), stall())
    reader, writer = await connected(proxy)
    writer.write(chat_request(proxy, stream=stream) + (b"" if later else behind))
    async with asyncio.timeout(20):
        while not upstream.requests:
            await asyncio.sleep(0.01)
    if stream:
        await reader.readuntil(b"hel")
    if later:
        writer.write(behind)
        await asyncio.sleep(0.05)
    if reset:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    else:
        writer.close()

    async with asyncio.timeout(10):
        await upstream.last.left.wait()
        while proxy.process.in_flight:
            await asyncio.sleep(0.01)
    assert len(upstream.requests) == 1
    assert [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []


async def test_a_head_without_end_is_refused(hosted):
    reader, writer = await connected(hosted)
    writer.write(HEAD)
    sent = 0
    closed = asyncio.ensure_future(closed_s(reader))
    while not closed.done() and sent < 4_000_000:
        writer.write(b"x-%d: " % sent + b"y" * 8000 + b"\r\n")
        sent += 8000
        await asyncio.sleep(0.001)
    await closed

    assert sent < 2_000_000
    assert (await hosted.get("/models")).status == 200
    writer.close()


async def test_trailers_without_end_are_refused(hosted):
    reader, writer = await connected(hosted)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {hosted.key}\r\n"
    writer.write(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n")
    sent = 0
    closed = asyncio.ensure_future(closed_s(reader))
    while not closed.done() and sent < 4_000_000:
        writer.write(b"x-%d: " % sent + b"y" * 8000 + b"\r\n")
        sent += 8000
        await asyncio.sleep(0.001)
    await closed

    assert sent < 2_000_000
    writer.close()


async def test_what_a_client_does_not_read_is_not_collected(http_server, make_proxy):
    """Only so much as sockets hold is read from the upstream."""
    event, sent, enough = chunk({"content": "x" * 100_000}), 0, 100_000_000

    async def floods(reader, writer):
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        while sent < enough:
            writer.write(event)
            try:
                await writer.drain()
            except ConnectionError:
                return
            sent += len(event)

    async with await asyncio.start_server(floods, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        proxy = await make_proxy({"providers": {"demo": {"base_url": url}}, "server": {"http_server": http_server}})
        reader, writer = await connected(proxy)
        writer.write(chat_request(proxy, stream=True))
        await reader.readuntil(b"xxx")
        reader._transport.pause_reading()
        before = -1
        while sent > before:
            before = sent
            await asyncio.sleep(0.5)
        writer.transport.abort()

    assert 1_000_000 < sent < enough / 2


# --- HTTP --------------------------------------------------------------------------------


def chat_head(proxy, *lines):
    head = ["POST /v1/chat/completions HTTP/1.1", "Host: x", f"Authorization: Bearer {proxy.key}", *lines]
    return "\r\n".join((*head, "", "")).encode()


CHAT = json.dumps({"model": "demo/small", "messages": [{"role": "user", "content": "hi"}]}).encode()


async def test_a_client_that_offers_an_upgrade_to_http_2_is_answered_in_http_1_again_and_again(hosted):
    """As Java's client does, on the first request of each connection."""
    reader, writer = await connected(hosted)
    offer = (
        "Connection: Upgrade, HTTP2-Settings",
        "Upgrade: h2c",
        "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
    )
    for lines in (offer, (), offer):
        writer.write(chat_head(hosted, *lines, f"Content-Length: {len(CHAT)}") + CHAT)
        head, body = await asyncio.wait_for(answer_of(reader), 20)
        assert head.startswith(b"http/1.1 200")
        assert json.loads(body)["choices"][0]["message"]["content"] == "hello"
    writer.close()


async def test_many_offers_at_once_disturb_nobody(hosted, caplog):
    reader, writer = await connected(hosted)
    writer.write((HEAD + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n") * 3000)
    with contextlib.suppress(ConnectionError):  # the connection may be closed before all of them are read
        await asyncio.wait_for(answer_of(reader), 20)
    writer.transport.abort()

    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
    assert (await hosted.chat("demo/small", "hi")).status == 200


@pytest.mark.parametrize("body_later", [False, True], ids=["in one piece", "the body later"])
async def test_the_body_of_a_request_with_an_offer_is_its_own(hosted, upstream, body_later):
    reader, writer = await connected(hosted)
    hidden = b"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n" % hosted.key.encode()
    writer.write(chat_head(hosted, "Connection: upgrade", "Upgrade: websocket", f"Content-Length: {len(hidden)}"))
    await asyncio.sleep(0.2 if body_later else 0)
    writer.write(hidden)
    head, body = await asyncio.wait_for(answer_of(reader), 20)

    assert head.startswith(b"http/1.1 400")
    assert b"JSON" in body
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.readexactly(1), 0.3)
    writer.close()


async def test_a_client_that_waits_before_it_sends_a_body_is_told_to_continue(hosted):
    reader, writer = await connected(hosted)
    writer.write(chat_head(hosted, "Expect: 100-continue", f"Content-Length: {len(CHAT)}"))
    told = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
    writer.write(CHAT)
    head, _ = await asyncio.wait_for(answer_of(reader), 20)

    assert told.startswith(b"HTTP/1.1 100")
    assert head.startswith(b"http/1.1 200")
    writer.close()


async def test_a_head_request_has_no_body(hosted):
    reader, writer = await connected(hosted)
    for _ in range(3):
        writer.write(b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)).startswith(b"HTTP/1.1 200")
    writer.close()


SMUGGLED = {
    "both lengths": [b"Content-Length: 5", b"Transfer-Encoding: chunked"],
    "two lengths": [b"Content-Length: 5", b"Content-Length: 6"],
    "a length with a sign": [b"Content-Length: +5"],
    "a space before the colon": [b"Content-Length : 5"],
    "an unknown coding": [b"Transfer-Encoding: xchunked"],
    "a coding after chunked": [b"Transfer-Encoding: chunked, identity"],
    "a folded line": [b"X-A: b", b" Content-Length: 5"],
}


@pytest.mark.parametrize("lines", SMUGGLED.values(), ids=SMUGGLED)
async def test_a_request_whose_end_is_in_doubt_is_the_last_on_its_connection(hosted, upstream, lines):
    """Or else the bytes that follow might be taken for a request that a proxy before this one did not see."""
    reader, writer = await connected(hosted)
    hidden = b"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n" % hosted.key.encode()
    writer.write(b"\r\n".join((b"POST /healthz HTTP/1.1", b"Host: x", *lines, b"", b"")) + b"0\r\n\r\n" + hidden)
    async with asyncio.timeout(20):
        said = await reader.read()

    assert b'"list"' not in said
    writer.close()


@pytest.mark.parametrize("coding", [b"gzip, chunked", b"gzip,chunked", b"GZIP , chunked", b"deflate, chunked"])
async def test_a_body_in_a_transfer_coding_other_than_chunked_is_refused(hosted, upstream, coding):
    packed = gzip.compress(CHAT)
    reader, writer = await connected(hosted)
    writer.write(chat_head(hosted, f"Transfer-Encoding: {coding.decode()}"))
    writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(packed), packed))
    said = await asyncio.wait_for(reader.readuntil(b"\r\n"), 20)

    assert said.split()[1] in (b"400", b"415", b"501")
    assert not upstream.requests
    writer.close()


async def test_a_target_with_the_servers_address_is_served(hosted):
    """As clients send it that take this server for an outbound proxy."""
    reader, writer = await connected(hosted)
    head = chat_head(hosted, f"Content-Length: {len(CHAT)}").replace(b" /v1/", b" http://x:8000/v1/")
    writer.write(head + CHAT)
    chat, _ = await answer_of(reader)
    writer.write(HEAD.replace(b" /healthz", b" HTTP://x/healthz") + b"\r\n")
    health, _ = await answer_of(reader)

    assert (chat.split()[1], health.split()[1]) == (b"200", b"200")
    writer.close()


async def test_empty_lines_between_requests_are_ignored(hosted):
    reader, writer = await connected(hosted)
    for before, behind in ((b"\r\n", b""), (b"", b"\r\n"), (b"", b"\r\n\r\n"), (b"", b"")):
        writer.write(before + HEAD + b"\r\n" + behind)
        assert (await answer_of(reader))[0].startswith(b"http/1.1 200")
    writer.write(b"\r\n" * 2_000 + HEAD + b"\r\n")
    assert (await answer_of(reader))[0].startswith(b"http/1.1 200")
    writer.close()


@pytest.mark.skipif(_most_waiting() < 1024, reason="the system's own limit is lower")
async def test_a_burst_of_connections_waits_for_none_to_be_accepted(http_server, tmp_path):
    """Beyond the backlog, the system drops connection requests, and clients try again only after a second."""
    settings = {"server": {"http_server": http_server}}
    async with run_proxy(settings, folder=tmp_path) as proxy:
        port, sockets = int(proxy.url.split(":")[2].removesuffix("/v1")), []
        for _ in range(300):  # this blocks the event loop, so none is accepted meanwhile
            sockets.append(socket.create_connection(("127.0.0.1", port), timeout=0.9))
        for sock in sockets:
            sock.close()

    assert len(sockets) == 300


async def test_a_client_that_left_while_another_request_waited_delays_no_shutdown(http_server, upstream, tmp_path):
    if http_server == "granian":
        pytest.skip("granian does not see the end of a connection behind bytes that it has not read")
    demo = {"base_url": upstream.url, "api_keys": ["key-a"]}
    settings = {"providers": {"demo": demo}, "server": {"http_server": http_server, "shutdown_grace_s": 30}}
    upstream.says(stall())
    async with run_proxy(settings, folder=tmp_path) as proxy:
        _, writer = await connected(proxy)
        writer.write(chat_request(proxy, stream=False) + HEAD + b"\r\n")
        async with asyncio.timeout(20):
            while not upstream.requests:
                await asyncio.sleep(0.01)
        writer.close()
        began = time.monotonic()

    assert time.monotonic() - began < 25


async def test_more_streams_run_at_once_than_granian_would_allow(hosted, upstream):
    upstream.says(chunk({"content": "hel"}), stall())
    streams = []
    for _ in range(150):
        reader, writer = await connected(hosted)
        writer.write(chat_request(hosted, stream=True))
        streams.append((reader, writer))
    for reader, _ in streams:
        await asyncio.wait_for(reader.readuntil(b"hel"), 20)

    assert len(upstream.requests) == 150
    for _, writer in streams:
        writer.close()


async def test_a_large_body_arrives_whole(hosted, upstream):
    text = "x" * 20_000_000

    assert (await hosted.chat("demo/small", text)).status == 200

    assert len(upstream.last.json["messages"][0]["content"]) == len(text)


# --- The end -----------------------------------------------------------------------------


async def test_connections_that_wait_for_a_request_do_not_delay_the_end(http_server, tmp_path):
    settings = {"server": {"http_server": http_server, "shutdown_grace_s": 30}}
    async with run_proxy(settings, folder=tmp_path) as proxy:
        connections = [await connected(proxy) for _ in range(3)]
        for (_, writer), sent in zip(connections, (HEAD + b"\r\n", HEAD, b""), strict=True):
            writer.write(sent)
        await answer_of(connections[0][0])
        began = time.monotonic()

    assert time.monotonic() - began < 25
    for _, writer in connections:
        writer.close()


async def test_a_request_on_an_open_connection_ends_it_once_the_server_stops(make_hosted, upstream):
    proxy = await make_hosted()
    upstream.streams("hel", "lo", gap_s=0.5)
    reader, writer = await connected(proxy)
    writer.write(chat_request(proxy, stream=True))
    await reader.readuntil(b"hel")
    writer.write(HEAD + b"\r\n")

    proxy.stop.set()
    rest = await asyncio.wait_for(reader.read(), 20)

    assert b"[DONE]" in rest
    writer.close()
