"""Request records as a collector gets them, over a real socket."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from google.protobuf.json_format import Parse
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

import proxy_core
from proxy_core import LogSink
from proxy_core.testing import plugin_with
from proxy_plugin_otel.records import RecordSink, RecordsRefused
from proxy_plugin_otel.settings import OtelSettings

LINE = json.dumps(
    {
        "id": "r-1",
        "client": "laptop",
        "dialect": "openai_chat",
        "model": "demo/small",
        "status": 429,
        "outcome": "failed",
        "error": None,
        "started_at": "2026-01-02T03:04:05.678+00:00",
        "note": "ä\u2028",
    },
    ensure_ascii=False,
).encode()


class Collector:
    """An OTLP/HTTP collector that answers with the statuses ``answers``, repeating the last one."""

    def __init__(self):
        self.answers = [200]
        self.requests = 0
        self.headers = {}
        self.taken = []
        self.url = ""

    async def serve(self, reader, writer):
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                line, *lines = head.decode("latin-1").split("\r\n")
                self.headers = {n.lower(): v.strip() for n, _, v in (one.partition(":") for one in lines if one)}
                body = await reader.readexactly(int(self.headers["content-length"]))
                assert line.startswith("POST /v1/logs ")
                self.requests += 1
                status = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if status == 200:
                    self.taken.append(Parse(body, ExportLogsServiceRequest()))
                writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\n{{}}".encode())
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    @property
    def records(self):
        return [r for t in self.taken for logs in t.resource_logs for s in logs.scope_logs for r in s.log_records]


@pytest.fixture
async def collector():
    running = Collector()
    server = await asyncio.start_server(running.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    running.url = f"http://{host}:{port}/v1/logs"
    yield running
    server.close()


@asynccontextmanager
async def sink(collector, **settings):
    opened = RecordSink(collector.url, OtelSettings(**settings), pauses_s=(0.0, 0.0, 0.0))
    yield opened
    await opened.close()


def attributes_of(carrier):
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in carrier.attributes}


@pytest.fixture
def recording(make_proxy, upstream):
    """A proxy with the provider ``demo`` and the plugin: ``await recording(records_endpoint=...)``."""

    def encode(call, credential):
        url, content = f"{upstream.url}/chat/completions", json.dumps(call.body).encode()
        return proxy_core.UpstreamRequest(url=url, headers=[], content=content)

    async def write(lines):
        pass

    async def make(records, sinks=None, **settings):
        sinks = sinks or [LogSink(name="other", write=write)]
        demo = proxy_core.Provider(name="demo", encode=encode, dialects=["openai_chat"], credential_optional=True)
        tables = {
            "plugins": {"otel": settings, "disabled": ["jsonl", "openai_compat"]},
            "records": {"enabled": records},
        }
        return await make_proxy(tables, modules=[plugin_with(proxy_providers=[demo], proxy_log_sinks=sinks)])

    return make


async def test_a_record_is_a_log_record(collector):
    async with sink(collector, service_name="ours", headers={"x-api-key": "collector-secret"}) as opened:
        await opened.write([LINE, LINE])
    first, second = collector.records

    assert first == second
    assert first.body.string_value.encode() == LINE
    assert first.time_unix_nano == 1767323045678 * 1_000_000
    assert (first.severity_text, first.event_name) == ("ERROR", "proxy_core.request")
    assert attributes_of(first) == {
        "proxy_core.request.id": "r-1",
        "proxy_core.client": "laptop",
        "proxy_core.dialect": "openai_chat",
        "gen_ai.request.model": "demo/small",
        "http.response.status_code": 429,
        "proxy_core.outcome": "failed",
    }
    assert attributes_of(collector.taken[0].resource_logs[0].resource) == {"service.name": "ours"}
    assert collector.headers["x-api-key"] == "collector-secret"
    assert collector.headers["user-agent"].startswith("proxy-plugin-otel/")


async def test_a_batch_is_retried_when_the_collector_is_busy(collector):
    collector.answers = [503, 429, 200]
    async with sink(collector) as opened:
        await opened.write([LINE])

    assert (len(collector.records), collector.requests) == (1, 3)


@pytest.mark.parametrize(("status", "requests"), [(503, 4), (400, 1), (401, 1)])
async def test_a_collector_that_rejects_a_batch_loses_it(collector, status, requests):
    collector.answers = [status]
    async with sink(collector) as opened:
        with pytest.raises(RecordsRefused, match=str(status)):
            await opened.write([LINE])

    assert collector.requests == requests


async def test_the_collector_gets_what_other_sinks_get(recording, collector, upstream):
    upstream.responds()
    seen = []

    async def write(lines):
        seen.extend(lines)

    proxy = await recording(True, sinks=[LogSink(name="seen", write=write)], records_endpoint=collector.url)
    await proxy.chat("demo/small", "quite private")
    async with asyncio.timeout(20):
        while not collector.records:
            await asyncio.sleep(0.02)
    (record,) = collector.records

    assert [line.decode() for line in seen] == [record.body.string_value]
    assert record.severity_text == "INFO"
    assert attributes_of(record)["gen_ai.request.model"] == "demo/small"


@pytest.mark.parametrize("variable", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"])
async def test_no_variable_of_opentelemetrys_sends_records(recording, monkeypatch, variable):
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    proxy = await recording(True)

    assert [sink.name for sink in proxy.proxy.catalog.log_sinks] == ["other"]


async def test_disabled_is_disabled(recording, collector, monkeypatch):
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    proxy = await recording(True, records_endpoint=collector.url)

    assert [sink.name for sink in proxy.proxy.catalog.log_sinks] == ["other"]
