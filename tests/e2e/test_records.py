"""Request records: what is in them, what is not, and that keeping them costs nobody anything."""

import asyncio
import json
import os
import stat
import time
from contextlib import suppress

import httpx
import pytest

import proxy_core
from proxy_core.testing import chunk, cut, pause, plugin_with, serving

KEY_SHAPED = "sk-proj-" + "a1B2c3D4e5F6g7H8i9J0k1L2"


class Sink:
    """A log sink that keeps what it gets, after ``before`` has run."""

    def __init__(self, before=None):
        self.records = []
        self.closed = False
        self._before = before

    async def write(self, lines):
        if self._before is not None:
            await self._before()
        self.records += [json.loads(line) for line in lines]

    async def close(self):
        self.closed = True

    async def first(self):
        await until(lambda: self.records)
        return self.records[0]


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
def recording(make_proxy, upstream):
    """A proxy that keeps records, and a sink that gets them: ``await recording(settings, sink, **hooks)``."""

    async def make(settings=None, sink=None, **hooks):
        sink = sink or Sink()
        brought = proxy_core.LogSink(name="seen", write=sink.write, close=sink.close)
        provider = {"base_url": upstream.url, "api_keys": ["key-a-secret", "key-b-secret"]}
        tables = {"providers": {"demo": provider}, "routing": {"selector": "sequential"}, "records": {"enabled": True}}
        module = plugin_with(proxy_log_sinks=[brought], **hooks)
        return await make_proxy({**tables, **(settings or {})}, modules=[module]), sink

    return make


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data" / "plugins" / "jsonl"


def lines_in(folder):
    found = []
    for file in sorted(folder.glob("*.jsonl")) if folder.is_dir() else []:
        with suppress(FileNotFoundError):  # old ones go at any moment
            found += [json.loads(line) for line in file.read_text().splitlines()]
    return found


# --- What is in a record -----------------------------------------------------------------


async def test_a_record_contains_the_whole_course_of_a_request(recording, upstream):
    proxy, sink = await recording()
    upstream.for_key("key-a-secret").responds(429, headers={"retry-after": "30"})

    await proxy.post(
        "/chat/completions",
        {"model": "demo/small", "messages": [{"role": "user", "content": "hi"}], "temperature": 0.5},
        headers={"x-request-id": "mine-1", "x-trace": "t"},
    )
    record = await sink.first()

    assert (record["id"], record["client"], record["model"], record["dialect"], record["stream"], record["status"]) == (
        *("mine-1", "test", "demo/small", "openai_chat", False),
        200,
    )
    assert (record["outcome"], record["error"]) == ("completed", None)
    assert 0 < record["first_event_s"] <= record["duration_s"] < 5
    assert record["usage"] == {"prompt": 3, "completion": 2, "cached": 0, "cache_write": 0, "reasoning": 0}
    assert record["request"]["path"] == "/v1/chat/completions"
    assert record["request"]["body"]["temperature"] == 0.5
    assert record["request"]["headers"]["x-trace"] == "t"
    assert record["response"]["body"]["choices"][0]["message"]["content"] == "hello"
    first, second = record["attempts"]
    assert (first["status"], first["fault"]) == (429, "model")
    assert "scripted 429" in json.dumps(first["response_body"])
    assert first["response_headers"]["retry-after"] == "30"
    assert (second["status"], second["fault"], second["deployment"]) == (200, None, "demo/small")
    assert first["credential"] != second["credential"]


async def test_a_reset_before_an_answer_leaves_the_answer_where_it_belongs(recording, upstream):
    proxy, sink = await recording({"routing": {"attempts_per_credential": 2}})
    upstream.resets()
    upstream.responds(200, headers={"x-which": "second"})

    await proxy.chat("demo/small", "hi")
    first, second = (await sink.first())["attempts"]

    assert (first["status"], first["message"]) == (None, "demo closed the connection.")
    assert "response_headers" not in first
    assert second["response_headers"]["x-which"] == "second"


async def test_a_stream_becomes_the_message_it_amounts_to(recording, upstream):
    proxy, sink = await recording()
    call = {"index": 0, "id": "call_1", "function": {"name": "look", "arguments": '{"at":'}}
    more = {"index": 0, "function": {"arguments": ' "sea"}'}}
    upstream.says(
        chunk({"role": "assistant", "content": ""}),
        chunk({"reasoning_content": "Let me "}),
        chunk({"reasoning_content": "see."}),
        pause(0.25),
        chunk({"content": "I "}),
        chunk({"content": "look."}),
        chunk({"tool_calls": [call]}),
        chunk({"tool_calls": [more]}),
        chunk({"tool_calls": [{"index": 1, "id": "call_2", "function": {"name": "wait", "arguments": "{}"}}]}),
        chunk({}, finish="tool_calls"),
        chunk(usage={"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}),
        b"data: [DONE]\n\n",
    )

    await proxy.chat("demo/small", "hi", stream=True)
    record = await sink.first()

    choice = record["response"]["body"]["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "I look."
    assert choice["message"]["reasoning_content"] == "Let me see."
    assert choice["message"]["tool_calls"] == [
        {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at": "sea"}'}},
        {"id": "call_2", "type": "function", "function": {"name": "wait", "arguments": "{}"}},
    ]
    assert (record["usage"]["prompt"], record["usage"]["completion"]) == (7, 5)
    pieces = record["response"]["chunks"]
    assert len(pieces) >= 2
    assert sum(size for _, size in pieces) == record["response"]["bytes"]
    assert pieces[-1][0] - pieces[0][0] >= 0.04


async def test_a_stream_that_breaks_off_is_recorded_as_far_as_it_came(recording, upstream):
    proxy, sink = await recording()
    upstream.says(chunk({"content": "half a "}), chunk({"content": "sen"}), pause(0.02), cut())

    await proxy.chat("demo/small", "hi", stream=True)
    record = await sink.first()

    assert (record["outcome"], record["error"]) == ("cut", "upstream_cut_off")
    assert record["response"]["body"]["choices"][0]["message"]["content"] == "half a sen"
    assert record["response"]["error"] == "demo's response ended before it was complete."


async def test_a_client_that_leaves_is_recorded_as_such(recording, upstream):
    proxy, sink = await recording()
    upstream.says(
        chunk({"content": "a"}), *[step for _ in range(200) for step in (pause(0.05), chunk({"content": "b"}))]
    )

    body = {"model": "demo/small", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    headers = {"authorization": f"Bearer {proxy.key}"}
    async with proxy.client.stream("POST", f"{proxy.url}/chat/completions", json=body, headers=headers) as reply:
        async for _ in reply.aiter_bytes():
            break
    record = await sink.first()

    assert record["outcome"] == "client_left"
    assert record["response"]["body"]["choices"][0]["message"]["content"].startswith("a")


async def test_a_failed_request_is_recorded_with_the_error_that_the_client_received(recording, upstream):
    proxy, sink = await recording()
    upstream.responds(400, {"error": {"message": "the temperature is too high", "type": "invalid_request_error"}})

    await proxy.chat("demo/small", "hi", temperature=9)
    record = await sink.first()

    assert (record["status"], record["outcome"]) == (400, "failed")
    assert "too high" in record["response"]["error"]
    assert record["attempts"][0]["response_body"]["error"]["message"] == "the temperature is too high"


async def test_a_translated_request_shows_what_was_sent(recording, parrot):
    proxy, sink = await recording(proxy_providers=[parrot()])

    await proxy.chat("parrot/grey", "hi", stream=True)
    record = await sink.first()

    assert record["attempts"][0]["sent"] == {"ask": ["hi"], "model": "grey"}
    assert record["response"]["body"]["choices"][0]["message"]["content"] == "hello"


async def test_a_relayed_request_shows_what_was_sent_if_more_than_the_models_name_differs(recording, upstream):
    proxy, sink = await recording()

    await proxy.chat("demo/small", "hi")
    await proxy.chat("demo/small", "hi", api_base="https://elsewhere.example", stream=True)
    await until(lambda: len(sink.records) == 2)
    same, changed = (record["attempts"][0] for record in sink.records)

    assert "sent" not in same
    assert changed["sent"] == upstream.last.json
    assert "api_base" not in changed["sent"]


async def test_the_chunks_of_a_stream_are_kept_if_settings_want_them(recording, upstream):
    proxy, sink = await recording({"records": {"enabled": True, "chunks": True}})
    upstream.streams("hel", "lo")

    await proxy.chat("demo/small", "hi", stream=True)
    record = await sink.first()

    assert "".join(record["response"]["stream"]).endswith("data: [DONE]\n\n")
    assert len(record["response"]["stream"]) == len(record["response"]["chunks"])
    assert record["response"]["body"]["choices"][0]["message"]["content"] == "hello"


async def test_no_chunks_are_kept_of_a_response_with_a_secret(recording, upstream):
    proxy, sink = await recording({"records": {"enabled": True, "chunks": True}})
    upstream.streams("take ", KEY_SHAPED[:9], KEY_SHAPED[9:20], KEY_SHAPED[20:], " home")

    await proxy.chat("demo/small", "hi", stream=True)
    record = await sink.first()

    assert "stream" not in record["response"]
    assert KEY_SHAPED[9:20] not in json.dumps(record)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
async def test_bodies_beyond_the_limit_are_left_out_and_counted(recording, upstream, stream):
    proxy, sink = await recording({"records": {"enabled": True, "max_body_bytes": 300}})
    upstream.streams(*["x" * 50] * 20) if stream else upstream.responds(200)

    await proxy.chat("demo/small", "y" * 1000, stream=stream)
    record = await sink.first()

    assert record["request"]["body"] == {"omitted_bytes": record["request"]["bytes"]}
    assert record["request"]["bytes"] > 1000
    if stream:
        assert record["response"]["truncated"] is True
        assert record["response"]["bytes"] > 1000
    assert "yyyy" not in json.dumps(record)


# --- What is not -------------------------------------------------------------------------


async def test_without_a_redactor_no_content_is_kept(recording, upstream, folder):
    proxy, sink = await recording({"plugins": {"disabled": ["redaction"]}})
    upstream.for_key("key-a-secret").responds(500, {"error": {"message": "echo private-words"}})

    await proxy.post(
        "/chat/completions",
        {"model": "demo/small", "messages": [{"role": "user", "content": "private-words"}], "stream": True},
        headers={"x-private": "private-words"},
    )
    record = await sink.first()

    assert "private-words" not in json.dumps(record)
    assert record["request"].keys() == {"path", "bytes"}
    assert record["response"].keys() == {"bytes", "chunks"}
    assert record["attempts"][0].keys() == {"deployment", "credential", "status", "fault", "duration_s"}
    assert record["usage"] is None or record["usage"]["prompt"] >= 0


async def test_with_the_redactor_secrets_are_gone_and_the_rest_is_there(recording, upstream):
    proxy, sink = await recording()
    upstream.streams("take ", KEY_SHAPED[:9], KEY_SHAPED[9:20], KEY_SHAPED[20:], " home")

    await proxy.chat("demo/small", f"my key is {KEY_SHAPED} and key-a-secret", stream=True)
    record = await sink.first()

    text = json.dumps(record)
    assert KEY_SHAPED not in text
    assert KEY_SHAPED[8:] not in text
    assert "key-a-secret" not in text
    assert proxy.key not in text
    assert record["request"]["body"]["messages"][0]["content"] == "my key is [redacted] and [redacted]"
    assert record["response"]["body"]["choices"][0]["message"]["content"] == "take [redacted] home"


async def test_a_redactor_that_fails_leaves_only_ids_status_and_times(recording, upstream, caplog):
    def fail(record):
        raise ValueError("private-words")

    proxy, sink = await recording(proxy_redactors=[proxy_core.Redactor(name="broken", redact=fail)])

    answer = await proxy.chat("demo/small", "private-words")
    record = await sink.first()

    assert answer.status == 200
    assert record.keys() == {
        *("id", "client", "dialect", "stream", "status", "outcome", "error", "started_at", "first_event_s"),
        *("duration_s", "redaction"),
    }
    assert record["redaction"] == "failed"
    assert "the redactor 'broken' of plugin 'tested' raised ValueError" in caplog.text
    assert "private-words" not in " ".join(caplog.messages)  # the program log shows no exception's message unredacted


async def test_a_redactor_sees_the_record_before_any_sink(recording, upstream):
    def shout(record):
        return {**record, "id": "cleaned"}

    proxy, sink = await recording(proxy_redactors=[proxy_core.Redactor(name="shout", redact=shout)])
    await proxy.chat("demo/small", "hi")

    assert (await sink.first())["id"] == "cleaned"


async def test_records_are_off_unless_asked_for(proxy, folder):
    await proxy.chat("demo/small", "hi")
    await asyncio.sleep(0.3)

    assert not folder.exists()


async def test_a_request_without_a_right_key_leaves_no_record(recording, upstream):
    proxy, sink = await recording()

    await proxy.post("/chat/completions", {"model": "demo/small", "messages": []}, key="wrong")
    await proxy.chat("demo/small", "hi")
    await sink.first()

    assert [r["status"] for r in sink.records] == [200]


# --- Nobody waits ------------------------------------------------------------------------


async def test_a_sink_that_fails_affects_neither_clients_nor_other_sinks(recording, upstream, folder, caplog):
    async def fail():
        raise OSError("no room for private-words")

    proxy, sink = await recording(sink=Sink(fail))
    for _ in range(3):
        assert (await proxy.chat("demo/small", "hi")).status == 200
        await asyncio.sleep(0.25)
    await until(lambda: len(lines_in(folder)) == 3)

    assert sink.records == []
    assert caplog.text.count("the log sink 'seen' of plugin 'tested' raised OSError") == 1
    assert "private-words" not in " ".join(caplog.messages)  # the program log shows no exception's message unredacted
    assert proxy.proxy.services.recorder.lost == 3


async def test_a_stuck_sink_costs_records_and_no_time_of_clients(recording, upstream, caplog, monkeypatch):
    monkeypatch.setattr("proxy_core.records.recorder._MAX_UNWRITTEN", 20_000)
    stuck = asyncio.Event()
    proxy, sink = await recording(sink=Sink(stuck.wait))
    upstream.responds(200)

    began = time.monotonic()
    for _ in range(4):
        await asyncio.gather(*(proxy.chat("demo/small", "x" * 2000) for _ in range(10)))
        await asyncio.sleep(0.25)
    took = time.monotonic() - began
    await until(lambda: proxy.proxy.services.recorder.lost)
    stuck.set()
    await until(lambda: len(sink.records) + proxy.proxy.services.recorder.lost == 40)

    assert took < 30
    assert 0 < len(sink.records) < 40
    assert "request records were dropped" in caplog.text


async def test_what_is_waiting_is_written_at_the_end_and_sinks_are_closed(recording, upstream, folder):
    proxy, sink = await recording()
    await proxy.chat("demo/small", "hi")

    proxy.stop.set()
    await until(lambda: sink.closed)

    assert len(sink.records) == 1
    await until(lambda: len(lines_in(folder)) == 1)


async def test_a_sink_that_never_ends_does_not_keep_the_server_from_stopping(recording, upstream, monkeypatch):
    monkeypatch.setattr("proxy_core.records.recorder._END_S", 0.2)
    proxy, sink = await recording(sink=Sink(asyncio.Event().wait))
    await proxy.chat("demo/small", "hi")
    await asyncio.sleep(0.3)

    began = time.monotonic()
    proxy.stop.set()
    await until(lambda: sink.closed)

    assert time.monotonic() - began < 15


# --- Files -------------------------------------------------------------------------------


async def test_files_are_private_rotated_and_few(recording, upstream, folder):
    proxy, _ = await recording({"plugins": {"jsonl": {"max_file_bytes": 4000, "max_files": 3}}})

    for n in range(8):
        await proxy.chat("demo/small", f"request {n} " + "x" * 2000)
        await until(lambda n=n: any(f"request {n} " in json.dumps(line) for line in lines_in(folder)))
    files = sorted(folder.glob("*"))

    assert len(files) == 3
    assert all(file.stat().st_size <= 4000 for file in files)
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert "request 7 " in json.dumps(lines_in(folder)[-1])


async def test_old_files_go_and_other_files_stay(recording, upstream, folder):
    folder.mkdir(parents=True)
    old, young, other = (folder / name for name in ("requests-a-1-1.jsonl", "requests-x-2-1.jsonl", "a.txt"))
    for file in (old, young, other):
        file.write_text("{}\n")
    for file, days in ((old, 3), (young, 1), (other, 30)):
        os.utime(file, (time.time() - days * 86_400,) * 2)
    proxy, _ = await recording({"plugins": {"jsonl": {"max_age_days": 2}}})

    await proxy.chat("demo/small", "hi")
    await until(lambda: any(lines_in(folder)))

    assert not old.exists()
    assert young.exists()
    assert other.exists()


async def test_the_folder_can_be_chosen(recording, upstream, tmp_path):
    chosen = tmp_path / "elsewhere"
    proxy, _ = await recording({"plugins": {"jsonl": {"folder": str(chosen)}}})
    await proxy.chat("demo/small", "hi")

    await until(lambda: lines_in(chosen))


async def test_records_without_a_sink_stop_the_start_and_name_a_package(make_proxy):
    with pytest.raises(proxy_core.SettingsError, match="pip install proxy-plugin-jsonl"):
        await make_proxy({"records": {"enabled": True}, "plugins": {"disabled": ["jsonl"]}})


async def test_the_command_line_switches_records_on(tmp_path):
    async with serving(tmp_path, "--demo", "--enable-request-logging") as program:
        key = (tmp_path / "data" / "proxy-core" / "client.key").read_text().strip()
        async with httpx.AsyncClient(timeout=10) as client:
            body = {"model": "demo/small", "messages": [{"role": "user", "content": "hi"}]}
            reply = await client.post(
                f"{program.url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"}
            )
        assert reply.status_code == 200
    records = lines_in(tmp_path / "data" / "proxy-core" / "plugins" / "jsonl")

    assert [r["model"] for r in records] == ["demo/small"]
    assert key not in json.dumps(records)
