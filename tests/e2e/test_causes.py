"""Why an upstream failed: for its operator in log, ``explain`` and ``doctor``, and in safe words for clients."""

import asyncio
import logging
import shutil
import socket
import ssl
import subprocess
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace

import proxy_core
from proxy_core.testing import chunk, cut, pause, plugin_with, run, stall

KEY = "a-key-that-is-long-enough-to-be-a-secret"


def closed_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@asynccontextmanager
async def listening(answer, context=None):
    """A server that does ``answer(reader, writer)`` with each connection; yields its port."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def hang(reader, writer):
    await reader.read()
    writer.close()


async def banner(reader, writer):
    writer.write(b"SSH-2.0-OpenSSH_9\r\n")
    writer.close()


def self_signed(folder):
    if not shutil.which("openssl"):
        pytest.skip("needs the openssl program to make a certificate")
    make = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost"
    command = [*make.split(), "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


@asynccontextmanager
async def troubled(kind, folder):
    """An address with this trouble."""
    if kind == "refused":
        yield f"http://127.0.0.1:{closed_port()}/v1"
    elif kind == "unknown name":
        yield "http://no-such-host.invalid/v1"
    elif kind == "certificate":
        async with listening(hang, self_signed(folder)) as port:
            yield f"https://127.0.0.1:{port}/v1"
    elif kind == "no TLS":
        async with listening(banner) as port:
            yield f"https://127.0.0.1:{port}/v1"
    elif kind == "no HTTP":
        async with listening(banner) as port:
            yield f"http://127.0.0.1:{port}/v1"
    else:
        async with listening(hang) as port:
            yield f"http://127.0.0.1:{port}/v1"


CAUSES = {
    "refused": ("the connection was refused", 502),
    "unknown name": ("its name was not found", 502),
    "certificate": ("its certificate was not accepted: self-signed certificate", 502),
    "no TLS": ("it does not speak TLS at this port", 502),
    "no HTTP": ("its answer is not valid HTTP", 502),
    "silence": ("did not respond in time", 504),
}


def warnings(caplog):
    return [r.getMessage() for r in caplog.records if r.name == "proxy_core.request" and r.levelno == logging.WARNING]


async def explained(proxy, answer):
    key = (proxy.proxy.loaded.data_dir / "admin.key").read_text().strip()
    address = proxy.url.removesuffix("/v1") + f"/admin/explain/{answer.headers['x-request-id']}"
    return (await proxy.client.get(address, headers={"authorization": f"Bearer {key}"})).json()


@pytest.mark.parametrize("kind", CAUSES)
async def test_the_cause_is_named_everywhere_and_the_address_only_to_the_operator(make_proxy, tmp_path, caplog, kind):
    words, status = CAUSES[kind]
    caplog.set_level(logging.INFO)
    async with troubled(kind, tmp_path) as address:
        provider = {"base_url": address, "api_keys": [KEY]}
        limits = {"first_event_s": 0.5 if kind == "silence" else 30}
        proxy = await make_proxy({"providers": {"up": provider}, "timeouts": limits})

        answer = await proxy.chat("up/m", "private-words")
        told = await explained(proxy, answer)

    assert answer.status == status
    assert words in answer.error["message"]
    assert answer.error["message"].startswith("up ")
    assert "127.0.0.1" not in answer.error["message"] and "invalid/" not in answer.error["message"]
    assert words in told["attempts"][-1]["cause"]
    (warning,) = warnings(caplog)
    assert words in warning
    assert "private-words" not in caplog.text
    assert KEY not in caplog.text


@pytest.mark.parametrize("kind", ["refused", "unknown name", "certificate", "no TLS"])
async def test_doctor_names_it(tmp_path, kind):
    async with troubled(kind, tmp_path) as address:
        _, shown = await run(tmp_path, "doctor", "--upstreams", UP_API_BASE=address, UP_API_KEY=KEY)

    assert CAUSES[kind][0] in shown


# --- By status and in the stream ---------------------------------------------------------------


@pytest.mark.parametrize(("status", "cause"), [(500, "status 500"), (503, "status 503"), (401, "status 401")])
async def test_a_final_failure_is_a_warning_without_the_upstreams_words(proxy, upstream, caplog, status, cause):
    caplog.set_level(logging.INFO)
    upstream.responds(status, {"error": {"message": "private-words"}})

    await proxy.chat("demo/small", "hi")

    assert cause in warnings(caplog)[-1]
    assert "private-words" not in caplog.text


async def test_a_cut_is_a_warning(proxy, upstream, caplog):
    upstream.says(chunk({"content": "hel"}), pause(0.05), cut())

    answer = await proxy.chat("demo/small", "hi", stream=True)

    assert answer.error["code"] == "upstream_cut_off"
    assert "the connection was closed" in warnings(caplog)[-1]


HELLO = chunk({"content": "hel"})
CUT = {
    "no end": ((HELLO,), "its response ended before it was complete"),
    "half an event": ((HELLO, b'data: {"choices": [{"ind'), "its response ended before it was complete"),
    "an error": ((HELLO, b'data: {"error": {"message": "dead", "code": 500}}\n\n'), "status 500"),
    "an error of the client": (
        (HELLO, b'data: {"error": {"message": "x", "code": 400, "type": "invalid_request_error"}}\n\n'),
        "it sent an error within its response",
    ),
    "a limit": ((HELLO, b'data: {"error": {"message": "slow down", "code": 429}}\n\n'), "status 429"),
    "an event that is too large": ((HELLO, b"data: " + b"x" * 5000), "one of its events is larger"),
}


@pytest.mark.parametrize("close", [True, False], ids=["closed", "with its length"])
@pytest.mark.parametrize(("steps", "cause"), CUT.values(), ids=CUT)
async def test_whatever_ends_a_stream_early_is_a_warning(make_proxy, upstream, caplog, steps, cause, close):
    provider = {"base_url": upstream.url, "api_keys": ["k1"]}
    proxy = await make_proxy({"providers": {"demo": provider}, "streams": {"max_event_bytes": 4096}})
    upstream.says(steps[0], pause(0.1), *steps[1:], close=close)
    caplog.set_level(logging.INFO)

    answer = await proxy.chat("demo/small", "hi", stream=True)

    assert answer.error is not None
    (warning,) = warnings(caplog)
    assert ", cut " in warning
    assert cause in warning


async def test_silence_is_a_warning(make_proxy, upstream, caplog):
    upstream.says(chunk({"content": "hel"}), stall())
    provider = {"base_url": upstream.url, "api_keys": ["key-a"]}
    proxy = await make_proxy({"providers": {"demo": provider}, "timeouts": {"idle_s": 0.3}})

    await proxy.chat("demo/small", "hi", stream=True)

    assert "it fell silent" in warnings(caplog)[-1]


@pytest.mark.parametrize("status", [200, 400, 404, 429])
async def test_what_is_no_failure_of_an_upstream_is_no_warning(proxy, upstream, caplog, status):
    upstream.responds(status, None if status == 200 else {"error": {"message": "x"}}, headers={"retry-after": "60"})

    await proxy.chat("demo/small", "hi")
    await proxy.chat("nope", "hi")

    assert [text for text in warnings(caplog) if "nope" in text or f" {status} " in text] == []


async def test_a_failure_that_another_credential_made_good_is_no_warning(proxy, upstream, caplog):
    upstream.for_key("key-a").responds(401)
    upstream.for_key("key-b").responds()

    assert (await proxy.chat("demo/small", "hi")).status == 200
    assert warnings(caplog) == []


# --- A failure of the proxy's own ---------------------------------------------------------------


class Broken(Exception):
    pass


def broken(*args, **kwargs):
    raise Broken


BUGS = {
    "an encoder": {"encode": broken},
    "a decoder": {"decoder": broken},
    "a classification": {"classify_failure": broken},
}


@pytest.mark.parametrize("bug", BUGS.values(), ids=BUGS)
async def test_a_500_always_leaves_a_traceback(make_proxy, parrot, upstream, caplog, bug):
    proxy = await make_proxy({}, modules=[plugin_with(proxy_providers=[replace(parrot(), **bug)])])
    if "classify_failure" in bug:
        upstream.for_path("/parrot").queue[:] = []
        upstream.for_path("/parrot").responds(500)

    answer = await proxy.chat("parrot/x", "hi")

    assert answer.status == 500
    assert "Broken" in caplog.text
    assert "in broken" in caplog.text, "with the frames"


async def test_a_sanitizers_bug_leaves_one_too(make_proxy, upstream, caplog):
    provider = {"base_url": upstream.url, "api_keys": ["key-a"]}
    sanitizer = proxy_core.Sanitizer(name="bad", request=broken)
    proxy = await make_proxy({"providers": {"demo": provider}}, modules=[plugin_with(proxy_sanitizers=[sanitizer])])

    assert (await proxy.chat("demo/small", "hi")).status == 500
    assert "in broken" in caplog.text
