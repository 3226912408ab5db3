"""The guarded fetcher goes to public addresses and nowhere else."""

import asyncio
import base64
import ipaddress
import socket

import pytest

from proxy_core import BadRequest, FetchLimits
from proxy_core.messages import ChatRequest, Image, InlineData, Link, Message, Text, ToolResult
from proxy_core.network.fetch import GuardedFetcher, Refused, _check_public
from proxy_core.testing import pause

pytestmark = pytest.mark.anyio
PNG = b"\x89PNG"
IMAGE = {"content-type": "image/png"}


@pytest.fixture
async def guarded():
    async with GuardedFetcher(user_agent="test/1", reach="public") as fetcher:
        yield fetcher


@pytest.fixture
async def unguarded():
    async with GuardedFetcher(user_agent="test/1", reach="anywhere") as fetcher:
        yield fetcher


REFUSED = """
http://127.0.0.1:{port}/ http://localhost:{port}/ http://[::1]:{port}/ http://127.1:{port}/ http://2130706433:{port}/
http://0x7f.0.0.1:{port}/ http://0177.0.0.1:{port}/ http://0:{port}/ http://[::ffff:127.0.0.1]:{port}/
http://[64:ff9b::7f00:1]:{port}/ http://10.0.0.1:{port}/ http://192.168.1.1/ http://172.16.0.1/ http://169.254.169.254/
http://[fe80::1]/ http://[fd00::1]/ http://100.64.0.1/ http://224.0.0.1/ http://255.255.255.255/ http://0.0.0.0:{port}/
file:///etc/passwd ftp://example.com/ gopher://example.com/ http:// https:///x //example.com/x data:text/plain,x
http://user:pw@example.com/ http://example.com:25/ http://example.com:99999/ http://[::1/
""".split()


@pytest.mark.parametrize("url", REFUSED)
async def test_what_is_not_public_is_never_connected_to(guarded, upstream, url):
    port = upstream.url.split(":")[2].removesuffix("/v1")

    with pytest.raises(BadRequest, match="linked document"):
        await guarded.fetch(url.format(port=port), FetchLimits())

    assert upstream.connections == 0


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_public_addresses_pass(address):
    _check_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["2002:7f00:1::", "::ffff:10.0.0.1", "64:ff9b::a00:1", "ff02::1", "::"])
def test_private_addresses_in_disguise_do_not(address):
    with pytest.raises(Refused):
        _check_public(ipaddress.ip_address(address))


async def test_a_name_that_resolves_to_a_private_address_is_refused_where_it_is_connected(
    guarded, upstream, monkeypatch
):
    """However often it is asked, only the answer that is used counts."""
    port = upstream.url.split(":")[2].removesuffix("/v1")
    answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", int(port)))]

    async def resolves(*_, **__):
        return answer

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolves, raising=False)
    with pytest.raises(BadRequest, match="not public"):
        await guarded.fetch(f"http://images.example:{port}/x", FetchLimits())

    assert upstream.connections == 0


async def test_a_document_comes_with_its_type_and_nothing_of_ours_goes_out(unguarded, upstream):
    upstream.responds(body=PNG, headers={"content-type": "image/png; x=y", "set-cookie": "a=b"})

    found = await unguarded.fetch(upstream.url + "/a.png?x=1", FetchLimits())

    assert found == InlineData(media_type="image/png", data=base64.b64encode(PNG).decode())
    assert set(upstream.last.headers) == {"host", "user-agent", "accept-encoding"}


async def test_redirects_are_followed_a_few_times_and_checked_each_time(unguarded, guarded, upstream):
    upstream.for_path("/1").responds(302, headers={"location": "/v1/2"})
    upstream.for_path("/2").responds(body=PNG, headers=IMAGE)
    upstream.for_path("/loop").responds(302, headers={"location": "/v1/loop"})
    upstream.for_path("/file").responds(302, headers={"location": "file:///etc/passwd"})

    assert (await unguarded.fetch(upstream.url + "/1", FetchLimits())).media_type == "image/png"
    for path, why in (("/loop", "too many times"), ("/file", "only http")):
        with pytest.raises(BadRequest, match=why):
            await unguarded.fetch(upstream.url + path, FetchLimits())


LIMITS = {
    "size": ({"body": b"x" * 2000, "headers": IMAGE}, FetchLimits(max_bytes=1000), "larger than 1000"),
    "type": ({"body": b"<html>", "headers": {"content-type": "text/html"}}, FetchLimits(), "type"),
    "status": ({"status": 404, "body": b"secret page", "headers": IMAGE}, FetchLimits(), "responded with 404"),
}


@pytest.mark.parametrize(("reply", "limits", "why"), LIMITS.values(), ids=LIMITS)
async def test_size_type_and_status_are_limited(unguarded, upstream, reply, limits, why):
    upstream.responds(**reply)

    with pytest.raises(BadRequest, match=why):
        await unguarded.fetch(upstream.url, limits)


async def test_time_is_limited_as_a_whole(unguarded, upstream):
    upstream.says(*[step for _ in range(20) for step in (b"x", pause(0.05))], headers=IMAGE)

    with pytest.raises(BadRequest, match="too long"):
        await unguarded.fetch(upstream.url, FetchLimits(timeout_s=0.2))


async def test_links_anywhere_in_a_conversation_are_replaced(unguarded, upstream):
    upstream.responds(body=PNG, headers=IMAGE)
    image = Image(source=Link(url=upstream.url))
    parts = [Text(text="see"), image, ToolResult(call_id="1", parts=[image])]
    chat = ChatRequest(model="m", dialect="openai_chat", messages=[Message(role="user", parts=parts)])

    found = (await unguarded.inline(chat, FetchLimits())).messages[0].parts

    assert isinstance(found[1].source, InlineData)
    assert isinstance(found[2].parts[0].source, InlineData)
