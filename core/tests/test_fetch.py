"""The guarded fetcher goes to public addresses and nowhere else."""

import asyncio
import base64
import socket
from urllib.parse import quote

import pytest

from proxy_core import BadRequest, FetchLimits
from proxy_core.messages import ChatRequest, Image, InlineData, Link, Message, Text, ToolResult, UpstreamRequest
from proxy_core.network.addresses import Refused, canonical, check_public
from proxy_core.network.errors import TransportError
from proxy_core.network.fetch import GuardedFetcher
from proxy_core.network.upstream import Upstream
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
http://127.0.0.1.:{port}/ http://127.0.0.1%00.example.com:{port}/ http://127.1.:{port}/ http://017700000001:{port}/
http://0x7f000001:{port}/ http://127.0x0.1:{port}/ http://127.0.0.1%09:{port}/ http://%31%32%37.0.0.1:{port}/
http://127%2e0%2e0%2e1:{port}/ http://foo@127.0.0.1:{port}/ http://@127.0.0.1:{port}/ http://example.com\\@127.0.0.1:{port}/
http://127.0.0.1:{port}\\@example.com/ http://[::127.0.0.1]:{port}/ http://[::ffff:0:127.0.0.1]:{port}/
http://[0:0:0:0:0:ffff:7f00:1]:{port}/ http://[::1%25lo]:{port}/ http://[64:ff9b:1::7f00:1]:{port}/ http://[fec0::1]:{port}/
http://[2002:7f00:1::]:{port}/ http://xn--a:{port}/ http://xn--:{port}/ http://xn--127-:{port}/ http://a..b:{port}/
http://.127.0.0.1:{port}/ http://LOCALHOST:{port}/ http://localhost.:{port}/ http://-:{port}/ http://256.256.256.256/
http://99999999999:{port}/ HTTP://127.0.0.1:{port}/
""".split()
#: Characters that libraries map to a dot or a digit, or leave out.
LOOKALIKES = [
    *(
        f"http://{host.replace('.', dot)}:{{port}}/"
        for host in ("127.0.0.1", "169.254.169.254")
        for dot in "\u3002\uff0e\uff61\u2024"
    ),
    *(
        "http://127\u30020.0.1:{port}/",
        "http://127.0.0\uff0e1:{port}/",
        "http://[::1\uff61]:{port}/",
        "http://localhost\u3002:{port}/",
    ),
    *(
        "http://\uff11\uff12\uff17.0.0.1:{port}/",
        "http://\uff11\uff12\uff17\u3002\uff10\u3002\uff10\u3002\uff11:{port}/",
        "http://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460:{port}/",
        "http://2130706433\u3002:{port}/",
    ),
    *(f"http://127.0.0{char}.1:{{port}}/" for char in "\u200b\u200c\u200d\u2060\ufeff\u00ad\u180e\u034f\ufe0f"),
    *(
        "http://loc\u00adalhost:{port}/",
        "http://\u24dbocalhost:{port}/",
        "http://LOCALHO\ufb06:{port}/",
        "http://\uff2c\uff2f\uff23\uff21\uff2c\uff28\uff2f\uff33\uff34:{port}/",
    ),
    *(
        "http://\u0660x7f.1:{port}/",
        "http://\u0661\u0662\u0667.\u0660.\u0660.\u0661:{port}/",
        "http://\u0967\u0968\u096d.\u0966.\u0966.\u0967:{port}/",
        "http://\U0001d7cf\U0001d7d0\U0001d7d5.\U0001d7ce.\U0001d7ce.\U0001d7cf:{port}/",
    ),
    *(
        "http://127.0.0.1\uff0f:{port}/",
        "http://127.0.0.1\uff20example.com:{port}/",
        "http://169.254.169.254\uff1f:{port}/",
    ),
]


@pytest.mark.parametrize("url", REFUSED + LOOKALIKES)
async def test_what_is_not_public_is_never_connected_to(guarded, upstream, url):
    port = upstream.url.split(":")[2].removesuffix("/v1")

    with pytest.raises(BadRequest, match="linked document"):
        await guarded.fetch(url.format(port=port), FetchLimits())

    assert upstream.connections == 0


@pytest.mark.parametrize("url", LOOKALIKES)
async def test_a_redirect_is_read_like_the_link_itself(unguarded, upstream, url):
    """Even where every address may be fetched, a host that two programs could read differently is refused."""
    port = upstream.url.split(":")[2].removesuffix("/v1")
    upstream.for_path("/from").responds(302, headers={"location": quote(url.format(port=port), safe=":/[]@?")})

    with pytest.raises(BadRequest, match="linked document"):
        await unguarded.fetch(upstream.url + "/from", FetchLimits())

    assert upstream.connections == 1


@pytest.mark.parametrize(
    ("url", "used"),
    {
        "http://Example.COM:8080/A?b=C#d": "http://example.com:8080/A?b=C",
        "https://münchen.example/ä": "https://xn--mnchen-3ya.example/ä",
        "https://xn--mnchen-3ya.example": "https://xn--mnchen-3ya.example",
        "https://my_bucket.s3.example./x": "https://my_bucket.s3.example/x",
        "https://[2606:4700:0::1111]/": "https://[2606:4700::1111]/",
    }.items(),
)
def test_ordinary_hosts_are_accepted_in_one_spelling(url, used):
    assert canonical(url, public=True) == used


async def test_the_connection_itself_is_checked_whatever_the_address_looked_like(upstream, monkeypatch):
    port = int(upstream.url.split(":")[2].removesuffix("/v1"))
    answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{n}", port)) for n in (1, 2, 3)]

    async def resolves(*_, **__):
        return answer

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolves, raising=False)
    async with Upstream(user_agent="t", max_connections=2, connect_s=5, pool_s=5, guard=check_public) as connections:
        for host in ("127.0.0.1", "images.example"):
            with pytest.raises(TransportError, match="connect"):
                await connections.send(UpstreamRequest(method="GET", url=f"http://{host}:{port}/", headers=[]))

    assert upstream.connections == 0


async def test_the_peer_is_checked_again_before_anything_is_sent(upstream):
    asked = []

    def only_before_connecting(address):
        asked.append(address)
        if len(asked) > 1:
            raise Refused("it moved")

    connections = Upstream(user_agent="t", max_connections=2, connect_s=5, pool_s=5, guard=only_before_connecting)
    async with connections:
        with pytest.raises(TransportError):
            await connections.send(UpstreamRequest(method="GET", url=upstream.url, headers=[]))

    assert asked == ["127.0.0.1", "127.0.0.1"]
    assert upstream.requests == []


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_public_addresses_pass(address):
    check_public(address)


@pytest.mark.parametrize(
    "address", ["2002:7f00:1::", "::ffff:10.0.0.1", "64:ff9b::a00:1", "ff02::1", "::", "fec0::1", "3fff::1"]
)
def test_private_addresses_in_disguise_do_not(address):
    with pytest.raises(Refused):
        check_public(address)


@pytest.mark.parametrize("count", [1, 3])
async def test_a_name_that_resolves_to_a_private_address_is_refused_where_it_is_connected(
    guarded, upstream, monkeypatch, count
):
    """However often it is asked, only the answer that is used counts."""
    port = upstream.url.split(":")[2].removesuffix("/v1")
    answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", int(port)))]

    async def resolves(*_, **__):
        return answer * count

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
