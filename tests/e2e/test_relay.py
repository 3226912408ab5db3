"""Where client and upstream speak one dialect, bytes pass as they came."""

import json

import pytest

from proxy_core.testing import chunk, every_split

ODD = b"".join(
    [
        b": a comment first\n\n",
        b'data:{"choices" : [ {"index":0,"delta":{"role":"assistant","content":""}} ],"x_vendor":{"a":[1, 2]}}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"reasoning_content":"hm","weird\\u0000":true}}]}\n\n',
        'data: {"choices":[{"index":0,"delta":{"content":"line\u2028sep \u00e9\u4e2d\U0001f600"}}]}\n\n'.encode(),
        b'event: x\nid: 7\ndata: {"choices":[{"index":0,\ndata: "delta":{"content":"two lines"}}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","type":"function",',
        b'"function":{"name":"f","arguments":"{\\"usage\\": 1}"}}]}}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}\n\n',
        b"data: [DONE]\n\n",
    ]
)


async def test_a_stream_passes_byte_for_byte(proxy, upstream):
    upstream.says(ODD)

    answer = await proxy.chat("demo/small", "hi", stream=True)

    assert answer.body == ODD


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"], ids=["lf", "crlf", "cr"])
async def test_any_line_ending_passes_untouched(proxy, upstream, ending):
    stream = ODD.replace(b"\n", ending)
    upstream.says(stream)

    assert (await proxy.chat("demo/small", "hi", stream=True)).body == stream


async def test_events_split_over_reads_pass_untouched(proxy, upstream):
    cuts = list(every_split(ODD))[:: len(ODD) // 12]
    for first, second in cuts:
        upstream.queue.clear()
        upstream.says(first, 0.005, second)
        assert (await proxy.chat("demo/small", "hi", stream=True)).body == ODD


async def test_a_stream_read_byte_by_byte_passes_untouched(proxy, upstream):
    upstream.says(*[ODD[i : i + 1] for i in range(len(ODD))])

    assert (await proxy.chat("demo/small", "hi", stream=True)).body == ODD


async def test_a_last_event_without_its_blank_line_is_kept(proxy, upstream):
    upstream.says(ODD[:-2])

    assert (await proxy.chat("demo/small", "hi", stream=True)).body == ODD[:-2]


async def test_an_end_marker_is_added_when_the_upstream_sends_none(proxy, upstream):
    upstream.says(chunk({"content": "x"}), chunk({}, finish="stop"))

    answer = await proxy.chat("demo/small", "hi", stream=True)

    assert answer.done
    assert answer.error is None


async def test_a_plain_response_passes_byte_for_byte(proxy, upstream):
    odd = b' {"choices" : [{"message":{"content":"x","reasoning_content":"y"}, "z":1.50}],"system_fingerprint" :null}\n'
    upstream.responds(body=odd)

    assert (await proxy.chat("demo/small", "hi")).body == odd


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("alias", ["demo/small", "best", "small"])
async def test_a_response_has_the_name_that_the_client_used_and_is_otherwise_unchanged(
    make_proxy, upstream, stream, alias
):
    inside = {"index": 0, "model": "small", "message": {"content": '"model": "small"'}, "delta": {"content": "a"}}
    odd = {"id": "x", "model": "small", "choices": [inside], "more": {"model": "small"}}
    end = chunk({}, finish="stop", model="small")
    sent = (
        b"data: " + json.dumps(odd).encode() + b"\n\n" + end + b"data: [DONE]\n\n"
        if stream
        else json.dumps(odd).encode()
    )
    upstream.says(sent) if stream else upstream.responds(body=sent)
    providers = {"demo": {"base_url": upstream.url, "api_keys": ["key-a"]}}
    proxy = await make_proxy({"providers": providers, "models": {"best": "demo/small", "small": "demo/small"}})

    answer = await proxy.chat(alias, "hi", stream=stream)

    renamed = sent.replace(b'"id": "x", "model": "small"', f'"id": "x", "model": "{alias}"'.encode())
    assert answer.body == renamed.replace(end, chunk({}, finish="stop", model=alias))


async def test_a_request_keeps_unknown_fields_and_only_the_model_changes(proxy, upstream):
    fields = {"vendor_option": {"deep": [1, 2.5, None]}, "temperature": 0.1, "big": 2**70, "note": "\u2028é"}

    await proxy.chat("demo/org/small", "hi", **fields)

    messages = [{"role": "user", "content": "hi"}]
    assert upstream.last.json == {"model": "org/small", "messages": messages, "stream": False, **fields}


USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


async def test_usage_is_asked_for_and_taken_out_again(proxy, upstream):
    events = [chunk({"content": "a"}, usage=None, model="demo/small"), chunk({}, finish="stop", model="demo/small")]
    upstream.says(*events, chunk(usage=USAGE), b"data: [DONE]\n\n")

    answer = await proxy.chat("demo/small", "hi", stream=True)

    assert upstream.last.json["stream_options"] == {"include_usage": True}
    assert answer.body == b"".join(events) + b"data: [DONE]\n\n"


async def test_usage_the_client_asked_for_is_kept(proxy, upstream):
    upstream.streams("a", usage=USAGE)

    answer = await proxy.chat("demo/small", "hi", stream=True, stream_options={"include_usage": True, "x": 1})

    assert upstream.last.json["stream_options"] == {"include_usage": True, "x": 1}
    assert answer.events[-1]["usage"] == USAGE
    assert answer.events[-1]["choices"] == []


async def test_usage_on_the_finish_event_is_not_removed(proxy, upstream):
    last = chunk({}, finish="stop", usage=USAGE, model="demo/small")
    upstream.says(chunk({"content": "a"}), last, b"data: [DONE]\n\n")

    assert last in (await proxy.chat("demo/small", "hi", stream=True)).body


async def test_an_upstream_that_chokes_on_stream_options_gets_none(make_proxy, upstream):
    proxy = await make_proxy({"providers": {"demo": {"base_url": upstream.url, "stream_usage": False}}})

    await proxy.chat("demo/small", "hi", stream=True, stream_options={"include_usage": True})

    assert "stream_options" not in upstream.last.json


async def test_text_that_only_looks_like_a_mark_changes_nothing(proxy, upstream):
    text = 'say "usage": {"x": 1}, "error": {"message": "no"} and data: [DONE]'
    deltas = ({"content": text}, {"content": "end"})
    events = b"".join(chunk(delta, model="demo/small") for delta in deltas)
    events += chunk({}, finish="stop", model="demo/small") + b"data: [DONE]\n\n"
    upstream.says(events)

    answer = await proxy.chat("demo/small", "hi", stream=True)

    assert answer.body == events
    assert answer.text == text + "end"


async def test_options_of_a_configured_model_fill_what_the_client_left_out(make_proxy, upstream):
    models = {"fast": {"id": "up/fast-1", "options": {"temperature": 0.5, "top_p": 0.9}}}
    proxy = await make_proxy({"providers": {"demo": {"base_url": upstream.url, "models": models}}})

    await proxy.chat("demo/fast", "hi", temperature=1)

    sent = upstream.last.json
    assert (sent["model"], sent["temperature"], sent["top_p"]) == ("up/fast-1", 1, 0.9)


async def test_the_response_of_a_gzip_upstream_is_readable(proxy, upstream):
    import gzip

    response = {"choices": [{"index": 0, "message": {"content": "hello"}}]}
    upstream.responds(body=gzip.compress(json.dumps(response).encode()), headers={"content-encoding": "gzip"})

    answer = await proxy.chat("demo/small", "hi")

    assert answer.json == response
    assert "content-encoding" not in answer.headers
