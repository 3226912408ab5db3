"""What plugins can do to a request, a reply and a provider; and that their failures stay closed."""

import asyncio
import json

import msgspec
import pytest
from msgspec.structs import replace

import proxy_core
from proxy_core.dialects.openai_chat import OpenAIChatDecoder
from proxy_core.testing import chunk, pause, plugin_with


@pytest.fixture
def with_plugin(make_proxy, upstream):
    async def make(**hooks):
        provider = {"base_url": upstream.url, "api_keys": ["key-a"]}
        return await make_proxy({"providers": {"demo": provider}}, modules=[plugin_with(**hooks)])

    return make


# --- Sanitizers --------------------------------------------------------------------------


async def test_a_sanitizer_changes_what_leaves(with_plugin, upstream):
    def quiet(request):
        return request.with_body({**request.body, "user": "nobody", "temperature": 0})

    proxy = await with_plugin(proxy_sanitizers=[proxy_core.Sanitizer(name="quiet", request=quiet)])

    await proxy.chat("demo/small", "hi", user="ann")

    assert (upstream.last.json["user"], upstream.last.json["temperature"]) == ("nobody", 0)


async def test_sanitizers_run_by_rank_then_name(with_plugin, upstream):
    def note(name):
        def request(r):
            return r.with_body({**r.body, "trail": [*r.body.get("trail", []), name]})

        return request

    named = [("b", 0), ("a", 0), ("last", 9), ("first", -1)]
    chain = [proxy_core.Sanitizer(name=name, rank=rank, request=note(name)) for name, rank in named]
    proxy = await with_plugin(proxy_sanitizers=chain)

    await proxy.chat("demo/small", "hi")

    assert upstream.last.json["trail"] == ["first", "a", "b", "last"]


async def test_a_sanitizer_refuses_a_request_with_its_own_error(with_plugin, upstream):
    def refuse(request):
        raise proxy_core.Forbidden("No secrets, please.", param="messages")

    proxy = await with_plugin(proxy_sanitizers=[proxy_core.Sanitizer(name="strict", request=refuse)])

    answer = await proxy.chat("demo/small", "hi")

    assert (answer.status, answer.error["message"]) == (403, "No secrets, please.")
    assert upstream.requests == []


async def test_a_sanitizer_that_fails_lets_nothing_pass(with_plugin, upstream):
    def broken(request):
        raise KeyError("prompt text that must not be told")

    proxy = await with_plugin(proxy_sanitizers=[proxy_core.Sanitizer(name="broken", request=broken)])

    answer = await proxy.chat("demo/small", "hi")

    assert (answer.status, answer.error["code"]) == (500, "plugin_failed")
    assert "prompt text" not in answer.error["message"]
    assert upstream.requests == []


class Upper:
    """Holds every text back by one event, in capitals."""

    def __init__(self):
        self.held = []

    def feed(self, event):
        if not isinstance(event, proxy_core.TextDelta):
            return [event]
        out, self.held = self.held, [proxy_core.TextDelta(text=event.text.upper(), choice=event.choice)]
        return out

    def close(self):
        return self.held


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
async def test_an_event_filter_changes_a_response_and_may_hold_text_back(with_plugin, upstream, stream):
    proxy = await with_plugin(proxy_sanitizers=[proxy_core.Sanitizer(name="upper", events=lambda r: Upper())])

    answer = await proxy.chat("demo/small", "hi", stream=stream)

    assert answer.text == "HELLO"
    assert answer.done == stream
    last = answer.events[-1] if stream else answer.json
    assert last["choices"][0]["finish_reason"] == "stop"


async def test_a_filtered_stream_reports_usage_only_to_a_client_that_asked(with_plugin, upstream):
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    upstream.streams("hel", "lo", usage=usage)
    proxy = await with_plugin(proxy_sanitizers=[proxy_core.Sanitizer(name="upper", events=lambda r: Upper())])

    silent = await proxy.chat("demo/small", "hi", stream=True)
    asked = await proxy.chat("demo/small", "hi", stream=True, stream_options={"include_usage": True})

    assert all(event.get("usage") is None and event["choices"] for event in silent.events)
    assert asked.events[-1]["usage"]["total_tokens"] == 5


async def test_a_filter_that_wants_nothing_leaves_the_bytes_alone(with_plugin, upstream):
    odd = b'data: {"choices" : [ {"index":0,"delta":{"content":"x"},"finish_reason":"stop"} ] }\n\ndata: [DONE]\n\n'
    upstream.says(odd)
    proxy = await with_plugin(proxy_sanitizers=[proxy_core.Sanitizer(name="idle", events=lambda r: None)])

    assert (await proxy.chat("demo/small", "hi", stream=True)).body == odd


async def test_a_filter_that_fails_ends_the_stream_and_keeps_what_it_held(with_plugin, upstream):
    class Failing(Upper):
        def feed(self, event):
            if isinstance(event, proxy_core.TextDelta) and event.text == "lo":
                raise ValueError("secret thought")
            return super().feed(event)

    upstream.says(chunk({"role": "assistant"}), chunk({"content": "hel"}), pause(0.02), chunk({"content": "lo"}))
    proxy = await with_plugin(proxy_sanitizers=[proxy_core.Sanitizer(name="failing", events=lambda r: Failing())])

    answer = await proxy.chat("demo/small", "hi", stream=True)

    assert b"HEL" not in answer.body
    assert b"secret thought" not in answer.body
    assert answer.error["code"] == "plugin_failed"
    assert not answer.done


def shout(request):
    request.body["user"] = "ANN"
    return request


def shout_below(request):
    request.body["messages"][0]["content"] = "HI"
    return request


def shout_and_copy(request):
    request.body["messages"].append({"role": "user", "content": "HI"})
    return request.with_body({**request.body})


@pytest.mark.parametrize("times", [1, 100_000], ids=["short", "long"])
@pytest.mark.parametrize("change", [shout, shout_below, shout_and_copy])
async def test_a_sanitizer_that_changes_a_body_in_place_is_noticed(with_plugin, upstream, caplog, change, times):
    proxy = await with_plugin(proxy_sanitizers=[proxy_core.Sanitizer(name="loud", request=change)])

    for _ in range(2):
        answer = await proxy.chat("demo/small", "hi" * times)

        assert answer.status == 500
        assert "'loud'" in answer.error["message"]
    assert upstream.requests == []
    assert "ChangedInPlace" in caplog.text
    assert "with_body" in caplog.text


# --- Providers ---------------------------------------------------------------------------


async def test_an_encoder_that_changes_the_clients_body_in_place_is_noticed(with_plugin, upstream, caplog):
    def encode(call, credential):
        call.body["temperature"] = 0  # the top level is its own
        if call.body["messages"][0]["content"] == "change":
            call.body["messages"][0]["content"] = "HI"
        content = proxy_core.json_bytes(call.body)
        return proxy_core.UpstreamRequest(url=upstream.url + "/chat/completions", headers=[], content=content)

    fields = {"dialects": ["openai_chat"], "credential_optional": True}
    providers = [proxy_core.Provider(name=name, encode=encode, **fields) for name in ("good", "loud")]
    proxy = await with_plugin(proxy_providers=providers)

    answers = [await proxy.chat(model, text) for model, text in [("good/m", "hi"), *[("loud/m", "change")] * 2]]

    assert [answer.status for answer in answers] == [200, 500, 500]
    assert "'loud'" in answers[1].error["message"]
    assert "ChangedInPlace" in caplog.text


async def test_an_encoder_may_not_change_what_the_neutral_request_shares_either(with_plugin, upstream, parrot, caplog):
    def encode(call, credential):
        call.chat.tools[0].parameters["additionalProperties"] = False
        return proxy_core.UpstreamRequest(url=upstream.url + "/parrot", headers=[], content=b"{}")

    proxy = await with_plugin(proxy_providers=[replace(parrot(), encode=encode)])
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}

    answer = await proxy.chat("parrot/grey", "hi", tools=[tool])

    assert answer.status == 500
    assert "ChangedInPlace" in caplog.text


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
async def test_a_provider_with_its_own_format_serves_chat(with_plugin, upstream, parrot, stream):
    proxy = await with_plugin(proxy_providers=[parrot()])

    answer = await proxy.chat("parrot/grey", "hi", stream=stream)

    assert answer.text == "hello"
    assert upstream.last.json == {"ask": ["hi"], "model": "grey"}
    if not stream:
        assert answer.json["usage"]["total_tokens"] == 9
        assert answer.json["model"] == "parrot/grey"


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
@pytest.mark.parametrize("content_type", ["application/x-ndjson; charset=utf-8", "Text/Event-Stream", ""])
async def test_a_decoder_is_told_the_content_type_and_whether_the_client_streams(
    with_plugin, upstream, parrot, stream, content_type
):
    heard = []

    def decoder(call, response):
        heard.append((call.stream, response.streaming, response.content_type, response.is_event_stream))
        return original(call, response)

    provider = parrot()
    original = provider.decoder
    upstream.for_path("/parrot").queue[0].headers["content-type"] = content_type
    proxy = await with_plugin(proxy_providers=[replace(provider, decoder=decoder)])

    answer = await proxy.chat("parrot/grey", "hi", stream=stream)

    media_type = content_type.partition(";")[0].lower()
    assert answer.text == "hello"
    assert heard == [(stream, stream, media_type, media_type == "text/event-stream")]


@pytest.mark.parametrize("relays", [True, False], ids=["relays", "repairs"])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
async def test_a_decoder_beside_a_dialect_repairs_every_response_unless_the_provider_relays(
    with_plugin, upstream, stream, relays
):
    class Loud(OpenAIChatDecoder):
        def feed(self, data):
            return super().feed(data.replace(b"hello", b"HELLO"))

    def encode(call, credential):
        content = proxy_core.json_bytes({**call.body, "stream": call.stream})
        return proxy_core.UpstreamRequest(url=upstream.url + "/chat/completions", headers=[], content=content)

    provider = proxy_core.Provider(
        name="loud",
        encode=encode,
        dialects=["openai_chat"],
        decoder=lambda call, response: Loud(response.is_event_stream),
        relays=relays,
        credential_optional=True,
    )
    if stream:
        upstream.streams("hello")
    else:
        upstream.responds()
    proxy = await with_plugin(proxy_providers=[provider])

    relayed = await proxy.chat("loud/m", "hi", stream=stream)
    translated = await proxy.post("/completions", {"model": "loud/m", "prompt": "hi"})

    assert relayed.text == ("hello" if relays else "HELLO")
    assert translated.status == 200
    if not stream:
        assert translated.json["choices"][0]["text"] == "HELLO"


async def test_what_a_provider_of_its_own_format_does_not_read_is_reported_as_dropped(with_plugin, upstream, parrot):
    def encode(call, credential):
        chat = replace(call.chat, model="renamed")  # a copy notes the same
        asked = [part.text for message in chat.messages for part in message.parts]
        content = proxy_core.json_bytes({"ask": asked, "seed": chat.sampling.seed})
        return proxy_core.UpstreamRequest(
            url=upstream.url + "/parrot", headers=[], content=content, dropped=["user", "asked"]
        )

    proxy = await with_plugin(proxy_providers=[replace(parrot(), encode=encode)])
    fields = {"temperature": 0, "seed": 7, "user": "ann", "reasoning_effort": "low", "prediction": {"x": 1}}

    answer = await proxy.chat("parrot/grey", "hi", **fields, parallel_tool_calls=False, stop="end")
    plain = await proxy.chat("parrot/grey", "hi", seed=7)

    dropped = answer.headers["x-proxy-dropped"].split(", ")
    assert len(dropped) == len(set(dropped))
    assert set(dropped) == {
        *("user", "asked", "temperature", "reasoning_effort", "prediction", "parallel_tool_calls", "stop")
    }
    assert plain.headers["x-proxy-dropped"] == "user, asked"


async def test_a_request_that_is_converted_as_a_whole_is_not_said_to_be_dropped(with_plugin, upstream, parrot):
    def encode(call, credential):
        content = proxy_core.json_bytes({"ask": str(msgspec.to_builtins(call.chat.sampling))})
        return proxy_core.UpstreamRequest(url=upstream.url + "/parrot", headers=[], content=content)

    proxy = await with_plugin(proxy_providers=[replace(parrot(), encode=encode)])

    answer = await proxy.chat("parrot/grey", "hi", temperature=1)

    assert answer.status == 200
    assert "x-proxy-dropped" not in answer.headers


async def test_a_chat_provider_serves_legacy_completions_too(with_plugin, upstream, parrot):
    proxy = await with_plugin(proxy_providers=[parrot()])

    answer = await proxy.post("/completions", {"model": "parrot/grey", "prompt": "hi"})
    several = await proxy.post("/completions", {"model": "parrot/grey", "prompt": ["a", "b"]})

    assert answer.json["choices"][0]["text"] == "hello"
    assert answer.json["object"] == "text_completion"
    assert (several.status, several.error["param"]) == (400, "prompt")


async def test_a_providers_own_classify_failure_decides(with_plugin, upstream, parrot):
    def judge(failure):
        error = proxy_core.Unavailable("The parrot sleeps.", retry_after_s=12)
        return proxy_core.FailureDecision(fault="provider", next="reject", error=error)

    proxy = await with_plugin(proxy_providers=[parrot(classify_failure=judge)])
    upstream.for_path("/parrot").queue.clear()
    upstream.for_path("/parrot").responds(418)

    answer = await proxy.chat("parrot/grey", "hi")

    assert (answer.status, answer.headers["retry-after"]) == (503, "12")


@pytest.mark.parametrize("broken", ["classify_failure", "decoder"])
async def test_a_provider_that_fails_itself_is_a_clean_500(with_plugin, upstream, parrot, broken):
    def fail(*_):
        raise ZeroDivisionError

    fields = {"classify_failure": fail} if broken == "classify_failure" else {}
    provider = parrot(**fields)
    if broken == "classify_failure":
        upstream.for_path("/parrot").queue.clear()
        upstream.for_path("/parrot").responds(500)
    else:
        upstream.for_path("/parrot").queue.clear()
        upstream.for_path("/parrot").responds(body=b"not json\n")
    proxy = await with_plugin(proxy_providers=[provider])

    answer = await proxy.chat("parrot/grey", "hi")

    assert (answer.status, answer.error["code"]) == (500, "plugin_failed")


async def test_a_provider_brings_its_own_embeddings(with_plugin, upstream):
    def decode(body):
        usage = proxy_core.Usage(prompt=3)
        return proxy_core.EmbedResponse(model="v", vectors=json.loads(body)["v"], usage=usage)

    def encode(call, credential):
        return proxy_core.UpstreamRequest(url=upstream.url + "/vec", headers=[], content=b"{}")

    upstream.for_path("/vec").responds(json_body={"v": [[0.5, -1.0]]})
    provider = proxy_core.Provider(
        name="vec", encode=encode, dialects=["openai_embeddings"], decode_embeddings=decode, credential_optional=True
    )
    proxy = await with_plugin(proxy_providers=[provider])

    answer = await proxy.post("/embeddings", {"model": "vec/v", "input": "a", "encoding_format": "base64"})

    assert answer.json["data"][0]["embedding"] == "AAAAPwAAgL8="
    assert answer.json["usage"] == {"prompt_tokens": 3, "total_tokens": 3}


@pytest.mark.parametrize("reach", ["anywhere", "public", "nowhere"])
async def test_a_provider_that_cannot_open_links_gets_the_documents(make_proxy, upstream, parrot, reach):
    def encode(call, credential):
        image = call.chat.messages[0].parts[0].source
        return proxy_core.UpstreamRequest(url=upstream.url + "/parrot", headers=[], content=image.data.encode())

    provider = replace(parrot(fetch_links=proxy_core.FetchLimits()), encode=encode)
    upstream.for_path("/a.png").responds(body=b"PNG", headers={"content-type": "image/png"})
    proxy = await make_proxy({"upstream": {"fetch_links": reach}}, modules=[plugin_with(proxy_providers=[provider])])
    image = {"type": "image_url", "image_url": {"url": upstream.url + "/a.png"}}

    answer = await proxy.post(
        "/chat/completions", {"model": "parrot/grey", "messages": [{"role": "user", "content": [image]}]}
    )

    if reach == "anywhere":
        assert (answer.text, upstream.last.body) == ("hello", b"UE5H")
    else:
        assert (answer.status, answer.error["code"]) == (400, "link_refused")
        assert upstream.requests == []


# --- Selectors, observers ----------------------------------------------------------------


async def test_a_selector_from_a_plugin_is_named_in_settings(make_proxy, upstream):
    last = proxy_core.Selector(name="last", select=lambda candidates, request: list(candidates)[-1])
    provider = {"base_url": upstream.url, "api_keys": ["key-a", "key-b"]}
    proxy = await make_proxy(
        {"providers": {"demo": provider}, "routing": {"selector": "last"}},
        modules=[plugin_with(proxy_selectors=[last])],
    )

    await proxy.chat("demo/small", "hi")

    assert upstream.last.key == "key-b"


async def test_observers_learn_what_happened_but_no_content(with_plugin, upstream):
    seen = []

    async def observe(record):
        seen.append(record)

    upstream.streams("hel", "lo", usage={"prompt_tokens": 3, "completion_tokens": 2})
    proxy = await with_plugin(proxy_observers=[proxy_core.Observer(name="seen", observe=observe)])

    await proxy.chat("demo/small", "a private prompt", stream=True)
    async with asyncio.timeout(20):
        while not seen:
            await asyncio.sleep(0.01)

    record = seen[0]
    assert (record.outcome, record.status, record.usage.total) == ("completed", 200, 5)
    assert record.first_event_s <= record.duration_s
    assert [attempt.deployment for attempt in record.attempts] == ["demo/small"]
    assert "key-a" not in repr(record)
    assert "private" not in repr(record)


async def test_an_observer_that_fails_affects_nothing_else(with_plugin, upstream):
    async def observe(record):
        raise RuntimeError

    proxy = await with_plugin(proxy_observers=[proxy_core.Observer(name="broken", observe=observe)])

    answers = [await proxy.chat("demo/small", "hi") for _ in range(3)]

    assert all(answer.status == 200 for answer in answers)
