"""Networks in which providers are not reached directly: proxies, private authorities, Unix sockets, IPv6."""

import asyncio
import base64
import socket
import ssl
from contextlib import asynccontextmanager, suppress
from urllib.parse import parse_qs

import pytest
import trustme

from proxy_core.errors import SettingsError
from proxy_core.network.routes import bypassed


async def relay(reader, writer):
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()


async def pass_on(reader, writer, host, port, head=b""):
    """Connect to this address, send it ``head`` and then whatever arrives, and send back what it says."""
    far_reader, far_writer = await asyncio.open_connection(host, port)
    try:
        far_writer.write(head)
        await asyncio.gather(relay(reader, far_writer), relay(far_reader, writer))
    finally:
        far_writer.transport.abort()


@asynccontextmanager
async def serving(serve, start=asyncio.start_server, **where):
    """A server for as long as the block runs; yields it."""
    tasks = set()

    async def served(reader, writer):
        tasks.add(asyncio.current_task())
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await serve(reader, writer)
        finally:
            writer.transport.abort()

    server = await start(served, **(where or {"host": "127.0.0.1", "port": 0}))
    try:
        yield server
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for _ in range(3):  # transports close in the next turns
            await asyncio.sleep(0)


def port_of(server):
    return server.sockets[0].getsockname()[1]


class OutboundProxy:
    """Speaks HTTP (absolute URLs and CONNECT) or SOCKS5. Whatever it is asked for, it connects to ``to``, if set."""

    def __init__(self, to=None):
        self.to = to
        self.asked = []
        self.heads = []

    async def http(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.split(b" ", 2)
        self.asked.append(f"{method.decode()} {target.decode()}")
        self.heads.append(head)
        to = self.to or target.decode().split(":")
        if method == b"CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await pass_on(reader, writer, *to)
        else:
            await pass_on(reader, writer, *to, head.replace(target, b"/" + target.split(b"/", 3)[3], 1))

    async def socks(self, reader, writer):
        await reader.readexactly((await reader.readexactly(2))[1])
        writer.write(b"\x05\x00")
        assert (await reader.readexactly(4))[3] == 3, "the name is resolved by the proxy"
        name = await reader.readexactly((await reader.readexactly(1))[0])
        self.asked.append(f"{name.decode()}:{int.from_bytes(await reader.readexactly(2), 'big')}")
        writer.write(b"\x05\x00\x00\x01" + bytes(6))
        await pass_on(reader, writer, *self.to)

    @asynccontextmanager
    async def running(self, kind="http"):
        async with serving(getattr(self, kind)) as server:
            yield f"127.0.0.1:{port_of(server)}"


def place(upstream):
    return "127.0.0.1", int(upstream.url.split(":")[2].removesuffix("/v1"))


def up(base_url, **more):
    return {"providers": {"up": {"base_url": base_url, "api_keys": ["k1"], **more}}}


INSIDE = "http://only-inside.invalid/v1"

# --- Proxies -----------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["upstream", "provider"])
async def test_an_outbound_proxy_reaches_a_host_that_has_no_address_here(make_proxy, upstream, where):
    outbound = OutboundProxy(place(upstream))
    async with outbound.running() as at:
        url = f"http://user:pass-word@{at}"
        settings = up(INSIDE, proxy=url) if where == "provider" else {**up(INSIDE), "upstream": {"proxy": url}}
        proxy = await make_proxy(settings)

        answer = await proxy.chat("up/m", "hi")
        listed = await proxy.get("/models")

    assert (answer.status, answer.text) == (200, "hello")
    assert "up/small" in [model["id"] for model in listed.json["data"]]
    assert outbound.asked == [f"POST {INSIDE}/chat/completions"], "the list was fetched over the same connection"
    assert base64.b64encode(b"user:pass-word") in outbound.heads[0]
    assert all(b"pass-word" not in str(request.headers).encode() for request in upstream.requests)


async def test_the_environments_proxy_is_used_only_if_the_settings_say_so(make_proxy, upstream):
    outbound = OutboundProxy(place(upstream))
    async with outbound.running() as at:
        environ = {"HTTP_PROXY": f"http://{at}", "NO_PROXY": "127.0.0.1"}
        unused = await make_proxy(up(INSIDE), environ=environ)
        used = await make_proxy({**up(INSIDE), "upstream": {"proxy": "environment"}}, environ=environ)
        near = await make_proxy({**up(upstream.url), "upstream": {"proxy": "environment"}}, environ=environ)

        assert (await unused.chat("up/m", "hi")).status == 502
        assert outbound.asked == []
        assert (await used.chat("up/m", "hi")).status == 200
        assert (await near.chat("up/m", "hi")).status == 200

    assert outbound.asked == [f"POST {INSIDE}/chat/completions"]
    assert any("HTTP_PROXY is set, but not used" in line for line in unused.proxy.warnings)
    assert not any("HTTP_PROXY" in line for line in used.proxy.warnings)


async def test_a_provider_may_go_around_the_proxy(make_proxy, upstream):
    proxy = await make_proxy({**up(upstream.url, proxy="direct"), "upstream": {"proxy": "http://127.0.0.1:9"}})

    assert (await proxy.chat("up/m", "hi")).status == 200


async def test_a_host_may_be_excepted_from_the_proxy(make_proxy, upstream):
    settings = {"proxy": "http://127.0.0.1:9", "no_proxy": ["127.0.0.0/8"]}
    proxy = await make_proxy({**up(upstream.url), "upstream": settings})

    assert (await proxy.chat("up/m", "hi")).status == 200


async def test_a_socks_proxy_resolves_the_name(make_proxy, upstream):
    outbound = OutboundProxy(place(upstream))
    async with outbound.running("socks") as at:
        proxy = await make_proxy(up(INSIDE, proxy=f"socks5h://{at}"))

        answers = [await proxy.chat("up/m", "hi", stream=stream) for stream in (True, False)]

    assert [answer.text for answer in answers] == ["hello", "hello"]
    assert set(outbound.asked) == {"only-inside.invalid:80"}


EXCEPTIONS = [
    ("*", "anything.example", True),
    ("example.com", "example.com", True),
    ("example.com", "api.example.com", True),
    (".example.com", "api.example.com", True),
    ("*.example.com", "api.example.com", True),
    ("example.com", "notexample.com", False),
    ("EXAMPLE.com", "api.example.COM.", True),
    ("example.com:8080", "example.com", True),
    ("example.com:81", "example.com", False),
    ("10.0.0.0/8", "10.1.2.3", True),
    ("10.0.0.0/8", "11.1.2.3", False),
    ("10.1.2.3", "10.1.2.3", True),
    ("::1", "::1", True),
    ("[::1]:8080", "::1", True),
    ("fd00::/8", "fd12::1", True),
    ("", "example.com", False),
]


@pytest.mark.parametrize(("entry", "host", "excepted"), EXCEPTIONS)
def test_exceptions_from_the_proxy_are_read_as_other_programs_do(entry, host, excepted):
    assert bypassed(host, 8080, [entry]) is excepted


# --- Certificates ------------------------------------------------------------------------


class Authority:
    """A private certificate authority, and its files."""

    def __init__(self, folder):
        self._made = trustme.CA()
        self._folder = folder
        self.file = folder / "authority.pem"
        self._made.cert_pem.write_to_path(self.file)

    def issue(self, name):
        """The files of a certificate and of its key."""
        issued = self._made.issue_cert(name)
        certificate, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        issued.cert_chain_pems[0].write_to_path(certificate)
        issued.private_key_pem.write_to_path(key)
        return str(certificate), str(key)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@asynccontextmanager
async def https(upstream, authority, *, ask=False, name="localhost"):
    """A TLS server in front of the upstream, with a certificate of ``authority``; it may ask for one, too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue(name))
    if ask:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority.file)
    async with serving(
        lambda reader, writer: pass_on(reader, writer, *place(upstream)), host="127.0.0.1", port=0, ssl=context
    ) as server:
        yield f"https://localhost:{port_of(server)}/v1"


async def test_a_private_authority_is_trusted_for_its_provider_alone(make_proxy, upstream, authority):
    async with https(upstream, authority) as url:
        trusting = {"base_url": url, "api_keys": ["k1"], "ca_file": str(authority.file)}
        other = {"base_url": url, "api_keys": ["k1"]}
        proxy = await make_proxy({"providers": {"up": trusting, "other": other}})

        answer, refused = await proxy.chat("up/m", "hi"), await proxy.chat("other/m", "hi")

    assert (answer.status, answer.text) == (200, "hello")
    assert refused.status == 502
    assert "its certificate was not accepted: " in refused.error["message"]


async def test_a_certificate_for_another_host_is_not_accepted(make_proxy, upstream, authority):
    async with https(upstream, authority, name="elsewhere.example") as url:
        proxy = await make_proxy(up(url, ca_file=str(authority.file)))

        answer = await proxy.chat("up/m", "hi")

    assert answer.status == 502
    assert "its certificate was not accepted: it does not match the host's name" in answer.error["message"]


async def test_a_client_certificate_is_presented(make_proxy, upstream, authority):
    certificate, key = authority.issue("a-client.example")
    async with https(upstream, authority, ask=True) as url:
        both = {"ca_file": str(authority.file), "client_certificate": certificate, "client_key": key}
        proxy = await make_proxy(up(url, **both))
        without = await make_proxy(up(url, ca_file=str(authority.file)))

        answer, refused = await proxy.chat("up/m", "hi"), await without.chat("up/m", "hi")

    assert (answer.status, answer.text) == (200, "hello")
    assert refused.status == 502


async def test_https_goes_through_a_proxy_as_a_tunnel(make_proxy, upstream, authority):
    async with https(upstream, authority) as url:
        outbound = OutboundProxy()
        async with outbound.running() as at:
            proxy = await make_proxy(up(url, ca_file=str(authority.file), proxy=f"http://{at}"))

            answer = await proxy.chat("up/m", "hi")

    assert (answer.status, answer.text) == (200, "hello")
    assert outbound.asked == [f"CONNECT {url.removeprefix('https://').removesuffix('/v1')}"]


@pytest.mark.parametrize("name", ["ca_file", "client_certificate"])
async def test_a_certificate_that_is_missing_or_wrong_is_named_at_start(make_proxy, upstream, tmp_path, name):
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("no certificate")
    for path in (tmp_path / "missing.pem", wrong):
        with pytest.raises(SettingsError, match=rf"providers\.up.*{name}.*{path.name}"):
            await make_proxy(up(upstream.url, **{name: str(path)}))


# --- Other ways --------------------------------------------------------------------------


async def test_a_unix_socket_is_connected_to(make_proxy, upstream, home):
    def serve(reader, writer):
        return pass_on(reader, writer, *place(upstream))

    async with serving(serve, asyncio.start_unix_server, path=home / "up.sock"):
        proxy = await make_proxy(up("http://local/v1", unix_socket=str(home / "up.sock")))
        missing = await make_proxy(up("http://local/v1", unix_socket=str(home / "not-there.sock")))

        answer, refused = await proxy.chat("up/m", "hi"), await missing.chat("up/m", "hi")

    assert (answer.status, answer.text) == (200, "hello")
    assert upstream.last.headers["host"] == "local"
    assert "its Unix socket does not exist" in refused.error["message"]


async def test_tls_over_a_unix_socket_is_refused_at_start(make_proxy):
    with pytest.raises(SettingsError, match=r"providers\.up\.unix_socket: there is no TLS"):
        await make_proxy(up("https://local/v1", unix_socket="/run/up.sock"))


def has_ipv6():
    with suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
async def test_an_ipv6_address_is_reached(make_proxy, upstream):
    def serve(reader, writer):
        return pass_on(reader, writer, *place(upstream))

    async with serving(serve, host="::1", port=0) as server:
        proxy = await make_proxy(up(f"http://[::1]:{port_of(server)}/v1"))

        answer = await proxy.chat("up/m", "hi")

    assert (answer.status, answer.text) == (200, "hello")


async def test_query_parameters_are_sent_with_every_request(make_proxy, upstream):
    proxy = await make_proxy(up(upstream.url, query={"api-version": "2026-10-01", "sig": "a+b/c=%41 &"}))

    await proxy.chat("up/m", "hi")
    await proxy.get("/models")

    sent = [request.path.partition("?") for request in upstream.requests]
    assert {path for path, _, _ in sent} == {"/v1/chat/completions", "/v1/models"}
    assert [parse_qs(query) for _, _, query in sent] == [{"api-version": ["2026-10-01"], "sig": ["a+b/c=%41 &"]}] * 2


# --- Causes ------------------------------------------------------------------------------

REFUSED = "http://127.0.0.1:9/v1"
CAUSES = {
    "refused": (up(REFUSED), "the connection was refused"),
    "unknown": (up("http://no-such-host.invalid/v1"), "its name was not found"),
    "the proxy is away": (
        up(INSIDE, proxy="http://user:pass-word@127.0.0.1:9"),
        "the outbound proxy could not be reached: the connection was refused",
    ),
}


@pytest.mark.parametrize(("settings", "told"), CAUSES.values(), ids=CAUSES)
async def test_why_an_upstream_cannot_be_reached_is_told(make_proxy, settings, told):
    proxy = await make_proxy(settings)

    answer = await proxy.chat("up/m", "hi")

    assert (answer.status, answer.error["code"]) == (502, "upstream_error")
    assert told in answer.error["message"]
    assert told in proxy.process.recent.get(answer.headers["x-request-id"]).attempts[-1].message
    assert "pass-word" not in answer.body.decode()


@pytest.mark.parametrize(
    ("says", "told"),
    [(b"HTTP/1.1 400 Bad Request\r\n\r\n", "it does not speak TLS"), (b"", "the connection was reset")],
)
async def test_https_to_a_server_without_tls_is_told(make_proxy, says, told):
    async def serve(reader, writer):
        await reader.read(64)
        writer.write(says)
        await writer.drain()
        writer.close()

    async with serving(serve) as server:
        proxy = await make_proxy(up(f"https://127.0.0.1:{port_of(server)}/v1"))

        answer = await proxy.chat("up/m", "hi")

    assert told in answer.error["message"]


async def test_http_to_a_server_with_tls_is_a_failure_of_the_upstream(make_proxy, upstream, authority):
    async with https(upstream, authority) as url:
        proxy = await make_proxy(up(url.replace("https://", "http://")))

        answer = await proxy.chat("up/m", "hi")

    assert (answer.status, answer.error["code"]) == (502, "upstream_error")
