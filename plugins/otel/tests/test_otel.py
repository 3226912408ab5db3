"""Spans as a collector gets them, over a real socket."""

import asyncio
import gzip
import json
import logging
import subprocess
import sys
import time
from contextlib import asynccontextmanager

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import proxy_core
from proxy_core.testing import chunk, cut, plugin_with

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SERVER, CLIENT, ERROR, UNSET = 2, 3, 2, 0


class Collector:
    """An OTLP/HTTP collector that answers with the status ``answer``, or never if that is ``None``."""

    def __init__(self):
        self.answer = 200
        self.spans = []
        self.resources = []
        self.headers = []
        self.url = ""

    async def serve(self, reader, writer):
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode("latin-1").split("\r\n")
                headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines[1:] if line)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.take(lines[0], headers, body)
                if self.answer is None:
                    await asyncio.sleep(30)
                writer.write(f"HTTP/1.1 {self.answer} X\r\ncontent-length: 0\r\n\r\n".encode())
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def take(self, line, headers, body):
        assert line.startswith("POST /v1/traces ")
        self.headers.append(headers)
        body = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
        if self.answer == 200:
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.resources.append(attributes_of(resource.resource))
                self.spans += [span for scope in resource.scope_spans for span in scope.spans]

    async def until(self, count):
        """The spans of the request and its attempts, once that many have arrived."""
        async with asyncio.timeout(20):
            while len(self.spans) < count:
                await asyncio.sleep(0.02)
        request = next(span for span in self.spans if span.kind == SERVER)
        return request, [span for span in self.spans if span.kind == CLIENT]


def attributes_of(carrier):
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in carrier.attributes}


@asynccontextmanager
async def collecting():
    collector = Collector()
    server = await asyncio.start_server(collector.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    collector.url = f"http://{host}:{port}/v1/traces"
    yield collector
    server.close()


@pytest.fixture
async def collector():
    async with collecting() as running:
        yield running


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")


@pytest.fixture
def traced(make_proxy, upstream):
    """A proxy with the provider ``demo`` and the plugin: ``await traced(endpoint=...)``."""

    def encode(call, credential):
        key = f"Bearer {credential.secret.get_secret_value()}".encode()
        headers = [("authorization", key.decode()), ("content-type", "application/json")]
        url = f"{upstream.url}/chat/completions"
        return proxy_core.UpstreamRequest(url=url, headers=headers, content=json.dumps(call.body).encode())

    async def make(**settings):
        demo = proxy_core.Provider(name="demo", encode=encode, dialects=["openai_chat"])
        tables = {
            "providers": {"demo": {"base_url": upstream.url, "api_keys": ["key-a-secret", "key-b-secret"]}},
            "routing": {"selector": "sequential", "max_wait_s": 1, "retry_delay_s": 0, "retry_jitter_s": 0},
            "plugins": {"otel": settings, "disabled": ["openai_compat"]},
        }
        return await make_proxy(tables, modules=[plugin_with(proxy_providers=[demo])])

    return make


async def test_a_request_and_its_attempt_are_spans_with_the_conventions_names(traced, collector, upstream):
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}
    upstream.says(0.05, chunk({"content": "hi"}), 0.05, chunk(finish="stop"), chunk(usage=usage), b"data: [DONE]\n\n")
    proxy = await traced(endpoint=collector.url, service_name="ours", headers={"x-api-key": "collector-secret"})
    before = time.time_ns()
    answer = await proxy.chat("demo/small", "a private question", stream=True)
    request, [attempt] = await collector.until(2)
    told = attributes_of(request)

    assert request.name == "chat demo/small"
    assert told["gen_ai.operation.name"] == "chat"
    assert told["gen_ai.provider.name"] == "demo"
    assert (told["gen_ai.request.model"], told["gen_ai.response.model"]) == ("demo/small", "small")
    assert (told["gen_ai.usage.input_tokens"], told["gen_ai.usage.output_tokens"]) == (10, 5)
    assert told["gen_ai.usage.cache_read.input_tokens"] == 4
    assert told["http.response.status_code"] == 200
    assert told["proxy_core.request.id"] == answer.headers["x-request-id"]
    assert 0.05 <= told["gen_ai.response.time_to_first_chunk"] < 5
    assert "error.type" not in told
    assert request.status.code == UNSET
    assert not request.parent_span_id

    assert attempt.name == "chat small"
    assert attributes_of(attempt)["gen_ai.request.model"] == "small"
    assert attributes_of(attempt)["server.address"] == "127.0.0.1"
    assert (attempt.trace_id, attempt.parent_span_id) == (request.trace_id, request.span_id)
    assert before - 10**6 < request.start_time_unix_nano <= attempt.start_time_unix_nano
    assert attempt.end_time_unix_nano - attempt.start_time_unix_nano >= 90 * 10**6
    assert abs(attempt.end_time_unix_nano - request.end_time_unix_nano) < 10**6

    assert collector.resources[0]["service.name"] == "ours"
    assert collector.headers[0]["x-api-key"] == "collector-secret"


async def test_each_failed_attempt_says_why_and_no_more(traced, collector, upstream):
    upstream.for_key("key-a-secret").responds(401, json_body={"error": {"message": "a private answer"}})
    proxy = await traced(endpoint=collector.url)
    await proxy.chat("demo/small", "a private question")
    request, attempts = await collector.until(3)
    first, second = sorted(attempts, key=lambda span: span.start_time_unix_nano)

    assert attributes_of(first)["error.type"] == "401"
    assert attributes_of(first)["http.response.status_code"] == 401
    assert attributes_of(first)["proxy_core.fault"] == "credential"
    assert first.status.code == ERROR
    assert first.end_time_unix_nano <= second.start_time_unix_nano
    assert (second.status.code, request.status.code) == (UNSET, UNSET)
    assert attributes_of(request)["proxy_core.attempts"] == 2
    everything = b"".join(span.SerializeToString() for span in collector.spans)
    assert not any(word in everything for word in (b"private", b"secret", proxy.key.encode()))


async def test_a_request_that_fails_has_an_error_type(traced, collector, upstream):
    upstream.responds(400, json_body={"error": {"message": "no", "code": "bad_thing"}})
    proxy = await traced(endpoint=collector.url)
    answer = await proxy.chat("demo/small", "hi")
    request, _ = await collector.until(2)

    assert request.status.code == ERROR
    assert attributes_of(request)["error.type"] == answer.error["code"]
    assert attributes_of(request)["http.response.status_code"] == 400
    assert "gen_ai.response.model" not in attributes_of(request)


async def test_a_stream_that_is_cut_is_an_error_of_both(traced, collector, upstream):
    upstream.says(chunk({"content": "hel"}), cut())
    proxy = await traced(endpoint=collector.url)
    await proxy.chat("demo/small", "hi", stream=True)
    request, [attempt] = await collector.until(2)

    assert attributes_of(request)["proxy_core.outcome"] == "cut"
    assert request.status.code == attempt.status.code == ERROR


async def test_the_clients_traceparent_is_the_parent_and_stays_here(traced, collector, upstream):
    proxy = await traced(endpoint=collector.url, sample_ratio=0)
    await _asked(proxy, f"00-{TRACE}-{PARENT}-01")
    request, [attempt] = await collector.until(2)

    assert request.trace_id.hex() == attempt.trace_id.hex() == TRACE
    assert request.parent_span_id.hex() == PARENT
    assert all("traceparent" not in seen.headers for seen in upstream.requests)


async def test_an_invalid_traceparent_is_ignored(traced, collector):
    proxy = await traced(endpoint=collector.url)
    await _asked(proxy, f"00-{TRACE}-{PARENT}")
    request, _ = await collector.until(2)

    assert not request.parent_span_id


async def test_what_the_client_does_not_sample_is_not_sent(traced, collector):
    proxy = await traced(endpoint=collector.url)
    await _asked(proxy, f"00-{TRACE}-{PARENT}-00")
    await proxy.chat("demo/small", "hi")
    await collector.until(2)

    assert len(collector.spans) == 2
    assert collector.spans[0].trace_id.hex() != TRACE


async def test_an_unreachable_collector_affects_no_request_and_is_logged_once(traced, collector, caplog):
    caplog.set_level(logging.WARNING)
    collector.answer = 400
    proxy = await traced(endpoint=collector.url)
    await proxy.chat("demo/small", "hi")  # imports take time, whatever the collector does
    began = time.monotonic()
    for _ in range(30):
        assert (await proxy.chat("demo/small", "hi")).text == "hello"
    assert time.monotonic() - began < 20
    while len(collector.headers) < 2:
        await asyncio.sleep(0.02)
    collector.answer = 200
    await proxy.chat("demo/small", "hi")
    await collector.until(2)
    await asyncio.sleep(0.05)

    said = [r.getMessage() for r in caplog.records if r.name.startswith(("proxy_core.plugin.otel", "opentelemetry"))]
    assert len([line for line in said if "does not accept spans" in line]) == 1
    assert len(said) <= 2


async def test_a_shutdown_sends_the_queued_spans(traced, collector, monkeypatch):
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
    proxy = await traced(endpoint=collector.url)
    await proxy.chat("demo/small", "hi")
    proxy.stop.set()

    await collector.until(2)


@pytest.mark.parametrize("away", ["hangs", "refuses"])
async def test_a_shutdown_does_not_wait_for_an_unreachable_collector(make_proxy, traced, collector, away):
    collector.answer = None
    nobody = "http://127.0.0.1:1/v1/traces"
    proxy = await traced(endpoint=collector.url if away == "hangs" else nobody, flush_s=0.2)
    await proxy.chat("demo/small", "hi")
    observers = proxy.proxy.services.observers
    async with asyncio.timeout(20):
        while not observers._queue.empty():
            await asyncio.sleep(0.01)
    began = time.monotonic()
    await observers._observers[0].close()

    assert time.monotonic() - began < 9


async def test_opentelemetrys_own_variables_name_a_collector(traced, collector, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.removesuffix("/v1/traces"))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    proxy = await traced()
    await proxy.chat("demo/small", "hi")
    await collector.until(2)

    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert not (await traced()).proxy.catalog.observers


async def test_without_a_collector_nothing_is_there(traced):
    proxy = await traced()

    assert proxy.proxy.catalog.observers == ()


def test_nothing_is_imported_before_it_is_needed(tmp_path):
    code = (
        "import sys, threading\n"
        "from proxy_core.testing import composed\n"
        "from pathlib import Path\n"
        "tables = {'plugins': {'otel': {'endpoint': 'http://127.0.0.1:1/v1/traces'}}}\n"
        f"proxy = composed(tables, folder=Path({str(tmp_path)!r}))\n"
        "assert [o.name for o in proxy.catalog.observers] == ['otel']\n"
        "assert not any(m.startswith('opentelemetry') for m in sys.modules)\n"
        "assert threading.active_count() == 1\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


async def _asked(proxy, traceparent):
    body = {"model": "demo/small", "messages": [{"role": "user", "content": "hi"}]}
    await proxy.post("/chat/completions", body, headers={"traceparent": traceparent})
