"""What several end-to-end tests need."""

import importlib.util
import json
import tempfile
from pathlib import Path

import pytest
from benchmarks.shared_run import CountingUpstream

import proxy_core


@pytest.fixture
def home():
    """A short one: with a long path the sockets are elsewhere."""
    with tempfile.TemporaryDirectory(prefix="pc-") as folder:
        yield Path(folder)


@pytest.fixture
async def counting():
    """An upstream that keeps the books itself."""
    upstream = CountingUpstream()
    async with upstream.listening() as upstream.url:
        yield upstream


class LineDecoder:
    """A wire format of one JSON object a line: ``{"say": "text"}``, ending with ``{"end": true}``."""

    def __init__(self, call, response):
        self.rest = b""
        self.ended = False

    def feed(self, data):
        *lines, self.rest = (self.rest + data).split(b"\n")
        return [event for line in lines if line for event in self.read(json.loads(line))]

    def read(self, line):
        if "end" in line:
            self.ended = True
            yield proxy_core.Finish(reason="stop")
            yield proxy_core.UsageReport(usage=proxy_core.Usage(prompt=7, completion=2))
        else:
            yield proxy_core.TextDelta(text=line["say"])

    def close(self):
        if not self.ended:
            raise proxy_core.StreamCut("cut")
        return []


@pytest.fixture
def parrot(upstream):
    """Makes a provider that speaks a format of its own: ``parrot(classify_failure=...)``."""

    def encode(call, credential):
        asked = [part.text for message in call.chat.messages for part in message.parts]
        content = proxy_core.json_bytes({"ask": asked, "model": call.chat.model})
        return proxy_core.UpstreamRequest(url=upstream.url + "/parrot", headers=[], content=content)

    def make(**fields):
        upstream.for_path("/parrot").responds(body=b'{"say": "hel"}\n{"say": "lo"}\n{"end": true}\n')
        return proxy_core.Provider(
            name="parrot", encode=encode, decoder=LineDecoder, credential_optional=True, **fields
        )

    return make


def _server(name, *marks):
    missing = importlib.util.find_spec(name) is None
    return pytest.param(name, marks=[pytest.mark.skipif(missing, reason=f"needs {name}"), *marks])


@pytest.fixture(params=[_server("hypercorn"), _server("uvicorn"), _server("granian", pytest.mark.slow)])
def http_server(request):
    """Each server that can run the proxy, by name."""
    return request.param


@pytest.fixture
def make_hosted(http_server, upstream, make_proxy):
    """Starts proxies under each server: ``make_hosted(server={...})`` with further tables of settings."""

    async def make(server=None, **tables):
        demo = {"demo": {"base_url": upstream.url, "api_keys": ["key-a"]}}
        return await make_proxy({"providers": demo, "server": {"http_server": http_server, **(server or {})}, **tables})

    return make


@pytest.fixture
async def hosted(make_hosted):
    """A proxy under each server."""
    return await make_hosted()
