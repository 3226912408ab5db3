"""Connections of clients: none is kept for nothing, and none stops the others."""

import asyncio
import os
from pathlib import Path

import pytest

from proxy_core.testing import VirtualClock
from proxy_core.testing.program import serving

GET = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
BODY = b'{"model": "demo/small", "messages": [{"role": "user", "content": "hi"}]}'


def head(*lines):
    """The head of a chat request."""
    return b"\r\n".join(
        [b"POST /v1/chat/completions HTTP/1.1", b"host: x", b"authorization: Bearer test-client-key", *lines, b"", b""]
    )


async def connected(url):
    host, port = url.removeprefix("http://").removesuffix("/v1").split(":")
    return await asyncio.open_connection(host, int(port))


async def said(url, *pieces, silent_s=1):
    """What the server answers to these bytes until it closes the connection or is silent for this long."""
    reader, writer = await connected(url)
    out = b""
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        while data := await asyncio.wait_for(reader.read(65536), silent_s):
            out += data
    except TimeoutError:
        out += b"(open)"
    except ConnectionError:
        pass
    writer.close()
    return out


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="counts descriptors in /proc")
async def test_a_connection_that_its_client_has_closed_is_closed_at_once(tmp_path, http_server):
    async with serving(tmp_path, "--demo", "--server", http_server, PROXY_API_KEY="k") as program:
        folder = f"/proc/{program.process.pid}/fd"
        await said(program.url, GET)
        before = len(os.listdir(folder))
        for _ in range(100):
            reader, writer = await connected(program.url)
            writer.write(GET)
            await reader.readuntil(b"\r\n\r\n")
            writer.close()
        async with asyncio.timeout(5):
            while len(os.listdir(folder)) > before + 5:
                await asyncio.sleep(0.05)
        limits = Path(f"/proc/{program.process.pid}/limits").read_text()

    soft, hard = next(line for line in limits.splitlines() if line.startswith("Max open files")).split()[3:5]
    assert soft == hard


@pytest.mark.parametrize("both", [(b"content-length: 72",), (b"Content-Length: 0",), (b"content-length: 5, 5",)])
@pytest.mark.parametrize("encoding", [b"transfer-encoding: chunked", b"Transfer-Encoding: Chunked"])
async def test_content_length_with_transfer_encoding_is_refused_or_ends_the_connection(
    hosted, upstream, both, encoding
):
    for order in ([*both, encoding], [encoding, *both]):
        answer = await said(hosted.url, head(*order) + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY) + GET)

        may_read = hosted.proxy.loaded.settings.server.http_server == "granian"  # by transfer-encoding
        assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 200") if may_read else b"HTTP/1.1 400")
        assert answer.count(b"HTTP/1.1") == 1, "the connection ends with it"
        assert not answer.endswith(b"(open)")
    assert may_read or upstream.requests == []


UPGRADE = GET[:-2] + b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: \r\n\r\n"


async def test_http_2_is_spoken_only_if_settings_say_so(tmp_path):
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
    for http2, upgraded in (("false", b"HTTP/1.1 200"), ("true", b"HTTP/1.1 101")):
        async with serving(tmp_path, PROXY_API_KEY="k", PROXY_SERVER__HTTP2=http2) as program:
            assert (await said(program.url, UPGRADE)).startswith(upgraded)
            spoken = await said(program.url, preface)
            assert spoken.startswith(b"HTTP/1.1 4") == (http2 == "false")


async def test_a_slow_body_has_a_deadline_that_grows_with_what_has_arrived(make_proxy, upstream, http_server):
    clock = VirtualClock(1e9)
    settings = {"providers": {"demo": {"base_url": upstream.url}}, "server": {"http_server": http_server}}
    proxy = await make_proxy(settings, clock=clock)
    for sent, limit_s in ((b"", 60), (b" " * 8192 * 40, 100)):
        reader, writer = await connected(proxy.url)
        writer.write(head(b"content-length: 1000000") + sent)
        await writer.drain()
        await asyncio.sleep(0.3)
        waiting = asyncio.ensure_future(reader.read(20))
        clock.passes(limit_s - 5)
        await asyncio.sleep(0.1)
        still_waiting = not waiting.done()
        clock.passes(10)
        await asyncio.sleep(0.1)
        clock.passes(10)  # for what is still sent after the answer
        answer = await asyncio.wait_for(waiting, 10)
        writer.close()
        assert still_waiting
        assert b"408" in answer

    assert upstream.requests == []


async def test_a_body_in_tiny_chunks_is_refused_before_it_costs_much(hosted, upstream):
    chunks = b"2\r\n  \r\n" * 500_000

    answer = await said(hosted.url, head(b"transfer-encoding: chunked"), chunks, silent_s=10)

    assert answer.startswith(b"HTTP/1.1 400")
    assert b"tiny chunks" in answer
    assert upstream.requests == []
    assert (await hosted.chat("demo/small", "hi")).status == 200
