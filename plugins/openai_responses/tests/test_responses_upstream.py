"""An upstream that has only the Responses API, behind the whole proxy: for clients of other formats, and its own."""

import asyncio
import json

import openai
import pytest
from google import genai
from google.genai import types
from pydantic import BaseModel

from proxy_core import Sanitizer, TextDelta
from proxy_core.testing import cut, plugin_with
from proxy_plugin_openai_responses.testing import (
    FakeResponses,
    call,
    custom,
    end,
    fails,
    hosted,
    raw,
    reasoning,
    refusal,
    text,
)

# google-genai subclasses aiohttp's session, which aiohttp discourages: not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")

PIXEL = "data:image/png;base64,iVBORw0KGgo="
WEATHER = {
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TOOLS = [{"type": "function", "function": WEATHER}]
HI = [{"role": "user", "content": "hi"}]


class City(BaseModel):
    name: str


@pytest.fixture
async def server():
    async with FakeResponses() as running:
        yield running


@pytest.fixture
async def proxy(server, make_proxy):
    return await make_proxy(
        {
            "providers": {"lab": server.provider},
            "models": {"mine": "lab/gpt"},
            "routing": {"max_wait_s": 1, "retry_delay_s": 0.01, "retry_jitter_s": 0},
        }
    )


@pytest.fixture
async def client(proxy):
    async with openai.AsyncOpenAI(base_url=proxy.url, api_key=proxy.key, max_retries=0) as client:
        yield client


@pytest.fixture
async def google(proxy):
    pytest.importorskip("proxy_plugin_gemini")
    options = types.HttpOptions(base_url=proxy.url.removesuffix("/v1"), api_version="v1beta")
    client = genai.Client(api_key=proxy.key, http_options=options).aio
    yield client
    await client.aclose()


# --- OpenAI's chat client ----------------------------------------------------------------


async def test_plain(client, server):
    server.answers(reasoning("Hm", encrypted="e"), text("hel", "lo"), end())
    answer = await client.chat.completions.create(
        model="lab/gpt",
        messages=[{"role": "system", "content": "Be brief."}, *HI],
        max_tokens=50,
        reasoning_effort="low",
    )

    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("hello", "stop")
    assert answer.choices[0].message.reasoning_content == "Hm"
    assert answer.model == "lab/gpt"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (10, 5, 15)
    assert answer.usage.prompt_tokens_details.cached_tokens == 4
    assert answer.usage.completion_tokens_details.reasoning_tokens == 2
    assert server.asked[0].json == {
        "model": "gpt",
        "instructions": "Be brief.",
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
        "max_output_tokens": 50,
        "reasoning": {"effort": "low"},
        "include": ["reasoning.encrypted_content"],
        "store": False,
    }


async def test_stream(client, server):
    server.answers(text("hel", "lo"), end("max_output_tokens"))
    stream = await client.chat.completions.create(
        model="lab/gpt", messages=HI, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]

    assert [c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content] == ["hel", "lo"]
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "length"
    assert chunks[-1].usage.total_tokens == 15


async def test_the_first_piece_arrives_with_the_upstreams(client, server):
    said = asyncio.Event()
    server.answers(text("hel"), raw(b": wait\n\n"), said, text("lo"), end())
    stream = await client.chat.completions.create(model="lab/gpt", messages=HI, stream=True)
    seen = []
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            seen.append((chunk.choices[0].delta.content, said.is_set()))
            said.set()

    assert seen == [("hel", False), ("\n\nlo", True)]  # another message


@pytest.mark.parametrize("streamed", [False, True])
async def test_two_parallel_calls_over_three_turns(client, server, streamed):
    messages = [{"role": "user", "content": "Weather in Oslo and Rome?"}]

    async def ask():
        more = {"model": "lab/gpt", "messages": messages, "tools": TOOLS}
        if not streamed:
            return (await client.chat.completions.create(**more)).choices[0].message
        async with client.chat.completions.stream(**more) as stream:
            return (await stream.get_final_completion()).choices[0].message

    oslo, rome = call("weather", '{"city":', '"Oslo"}'), call("weather", '{"city":"Rome"}')
    server.answers(text("Let me look."), oslo, rome, end())
    server.answers(call("weather", '{"city":"Bergen"}'), end())
    server.answers(text("cold"), end())
    for expected in (2, 1, 0):
        said = await ask()
        assert len(said.tool_calls or ()) == expected
        calls = [one.model_dump(include={"id", "type", "function"}) for one in said.tool_calls or ()]
        messages.append({"role": "assistant", "content": said.content, **({"tool_calls": calls} if calls else {})})
        for one in calls:
            city = json.loads(one["function"]["arguments"])["city"]
            messages.append({"role": "tool", "tool_call_id": one["id"], "content": city})

    assert messages[-1]["content"] == "cold"
    sent = server.asked[-1].json["input"]
    assert [item["type"] for item in sent] == [
        "message",
        "message",
        *["function_call"] * 2,
        *["function_call_output"] * 2,
        "function_call",
        "function_call_output",
    ]
    assert [item["output"] for item in sent if "output" in item] == ["Oslo", "Rome", "Bergen"]


async def test_images_and_structured_output(client, server):
    server.answers(text('{"name":', '"Oslo"}'), end())
    content = [{"type": "text", "text": "Which city?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    answer = await client.chat.completions.parse(
        model="lab/gpt", messages=[{"role": "user", "content": content}], response_format=City
    )

    assert answer.choices[0].message.parsed == City(name="Oslo")
    sent = server.asked[0].json
    assert sent["input"][0]["content"][1] == {"type": "input_image", "image_url": PIXEL, "detail": "auto"}
    assert (sent["text"]["format"]["type"], sent["text"]["format"]["name"]) == ("json_schema", "City")


async def test_refusals_custom_tools_and_citations(client, server):
    note = {"type": "url_citation", "url": "https://a.example", "title": "A", "start_index": 0, "end_index": 2}
    server.answers(hosted("web_search_call"), text("hi", annotations=(note,)), custom("patch", "*** x"), end())
    server.answers(refusal("No", "."), end())
    tools = [{"type": "custom", "custom": {"name": "patch"}}]
    first = (await client.chat.completions.create(model="lab/gpt", messages=HI, tools=tools)).choices[0].message
    second = (await client.chat.completions.create(model="lab/gpt", messages=HI)).choices[0]

    assert first.annotations[0].url_citation.url == "https://a.example"
    assert (first.tool_calls[0].custom.name, first.tool_calls[0].custom.input) == ("patch", "*** x")
    assert (second.message.refusal, second.finish_reason) == ("No.", "stop")


async def test_what_is_left_out_is_named_in_a_header(proxy, client):
    answer = await client.chat.completions.with_raw_response.create(model="lab/gpt", messages=HI, seed=1)

    assert answer.headers["x-proxy-dropped"] == "seed"


async def test_what_cannot_be_expressed_is_refused(client, server):
    with pytest.raises(openai.BadRequestError) as refused:
        await client.chat.completions.create(model="lab/gpt", messages=HI, stop=["END"])

    assert refused.value.param == "stop"
    assert server.asked == []


ERRORS = {
    "too long": (400, "context_length_exceeded", openai.BadRequestError),
    "no such model": (404, "model_not_found", openai.NotFoundError),
    "a limit": (429, "rate_limit_exceeded", openai.RateLimitError),
    "no credit": (429, "insufficient_quota", openai.PermissionDeniedError),
    "broken": (500, "server_error", openai.InternalServerError),
}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("error", ERRORS)
async def test_errors_before_the_response(client, server, error, streamed):
    status, code, raised = ERRORS[error]
    for _ in range(8):
        server.errs(status, code, "Not today.", retry_after="600")

    with pytest.raises(raised):
        await client.chat.completions.create(model="lab/gpt", messages=HI, stream=streamed)


async def test_an_error_inside_a_stream_before_the_first_content_has_a_status(client, server):
    for _ in range(8):
        server.answers(fails("rate_limit_exceeded", "Try again in 90s."))

    with pytest.raises(openai.RateLimitError) as limited:
        await client.chat.completions.create(model="lab/gpt", messages=HI, stream=True)

    assert 80 <= int(limited.value.response.headers["retry-after"]) <= 90


@pytest.mark.parametrize(
    "ending", [fails("server_error", "Lost it."), fails("server_error", "Lost it.", event=True), cut()]
)
async def test_an_error_after_the_first_content(client, server, ending):
    arrived = asyncio.Event()
    server.answers(text("hel"), arrived, ending)
    seen = []

    with pytest.raises(openai.APIError) as lost:
        async for chunk in await client.chat.completions.create(model="lab/gpt", messages=HI, stream=True):
            seen.append(chunk.choices[0].delta.content)
            arrived.set()

    assert "".join(seen) == "hel"
    assert ending == cut() or "Lost it." in str(lost.value)


async def test_a_failed_attempt_is_repeated(client, server):
    server.answers(fails("server_error"))
    server.answers(text("ok"), end())
    stream = await client.chat.completions.create(model="lab/gpt", messages=HI, stream=True)

    assert "".join([c.choices[0].delta.content or "" async for c in stream if c.choices]) == "ok"


async def test_a_client_that_leaves_ends_the_upstreams_work(client, server):
    server.answers(text("hel"), "stall")
    stream = await client.chat.completions.create(model="lab/gpt", messages=HI, stream=True)
    await anext(aiter(stream))
    await stream.close()

    await asyncio.wait_for(server.asked[0].left.wait(), 30)


async def test_legacy_completions(client, server):
    server.answers(text("there"), end())
    answer = await client.completions.create(model="lab/gpt", prompt="hello")

    assert answer.choices[0].text == "there"


async def test_encrypted_reasoning_comes_back_with_the_message_that_carries_it(client, server):
    """A chat client that returns a message as it came returns what only the model can read, in the right place."""
    server.answers(reasoning("Hm", encrypted="e1"), call("weather", '{"city":"Oslo"}', call_id="c1"), end())
    more = {"model": "lab/gpt", "tools": TOOLS, "reasoning_effort": "low"}
    said = (await client.chat.completions.create(messages=HI, **more)).choices[0].message.to_dict()
    result = {"role": "tool", "tool_call_id": "c1", "content": "cold"}
    await client.chat.completions.create(messages=[*HI, said, result], **more)

    items = server.asked[1].json["input"]
    assert [item["type"] for item in items] == ["message", "reasoning", "function_call", "function_call_output"]
    assert items[1]["encrypted_content"] == "e1"


# --- Google's client ---------------------------------------------------------------------


async def test_googles_client(google, server):
    config = types.GenerateContentConfig(
        system_instruction="Be brief.",
        thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_budget=2000),
        tools=[types.Tool(function_declarations=[types.FunctionDeclaration(name="weather")])],
    )
    server.answers(reasoning("Hm", encrypted="e1"), call("weather", '{"city":"Oslo"}'), end())
    server.answers(text("co", "ld"), end())
    contents = [types.Content(role="user", parts=[types.Part(text="Weather?")])]
    first = await google.models.generate_content(model="lab/gpt", contents=contents, config=config)
    said = first.candidates[0].content
    result = types.FunctionResponse(id=first.function_calls[0].id, name="weather", response={"output": "minus 3"})
    contents += [said, types.Content(role="user", parts=[types.Part(function_response=result)])]
    stream = await google.models.generate_content_stream(model="lab/gpt", contents=contents, config=config)
    answer = "".join([chunk.text or "" async for chunk in stream])

    assert first.function_calls[0].args == {"city": "Oslo"}
    assert answer == "cold"
    assert server.asked[0].json["reasoning"] == {"effort": "low", "summary": "auto"}
    sent = server.asked[1].json["input"]
    assert [item.get("output") for item in sent if item["type"] == "function_call_output"] == ["minus 3"]


# --- Its own clients ---------------------------------------------------------------------

CODEX = {
    "model": "mine",
    "instructions": "",
    "input": [{"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "d"}]}, *HI],
    "tools": [
        {"type": "custom", "name": "apply_patch", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}},
        {"type": "namespace", "name": "agents", "tools": [{"type": "function", **WEATHER}]},
        {"type": "web_search", "external_web_access": False},
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning": {"summary": "auto"},
    "store": False,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "k",
    "client_metadata": {"thread_id": "t"},
    "text": {"verbosity": "low"},
}


@pytest.mark.parametrize("streamed", [False, True])
async def test_its_own_clients_are_relayed(proxy, server, streamed):
    server.answers(
        reasoning("Hm", encrypted="e"), hosted("web_search_call", x={"new": 1}), text("ok"), custom("p"), end()
    )
    body = {**CODEX, **({"stream": True} if streamed else {})}
    answer = await proxy.client.post(
        f"{proxy.url}/responses", json=body, headers={"authorization": f"Bearer {proxy.key}"}
    )
    sent = server.asked[0].json
    upstream = server.said[0]

    assert {k: v for k, v in sent.items() if k != "model"} == {k: v for k, v in body.items() if k != "model"}
    assert sent["model"] == "gpt"
    assert b'"model": "gpt-2026-01-01"' in upstream
    assert answer.content == upstream.replace(b'"gpt-2026-01-01"', b'"mine"')


async def test_the_official_client_is_relayed(client, server):
    server.answers(call("weather", '{"city":', '"Oslo"}'), end())
    async with client.responses.stream(
        model="mine", input="Weather?", tools=[{"type": "function", **WEATHER}]
    ) as stream:
        response = await stream.get_final_response()

    assert response.model == "mine"
    assert response.output[0].arguments == '{"city":"Oslo"}'
    assert response.usage.input_tokens_details.cached_tokens == 4


async def test_a_client_limited_to_some_models_cannot_name_others(server, make_proxy):
    clients = {"test": {"key": "test-client-key", "models": ["lab/gpt"]}}
    proxy = await make_proxy({"providers": {"lab": server.provider}, "clients": clients})
    tools = [{"type": "image_generation", "model": "forbidden"}, {"type": "function", **WEATHER}]
    steering = {"models": ["forbidden"], "metadata": {"model": "forbidden"}, "provider": {"order": ["forbidden"]}}
    body = {**CODEX, "model": "lab/gpt", "tools": tools, **steering}
    answer = await proxy.post("/responses", body)

    assert answer.status == 200
    sent = server.asked[0]
    assert b"forbidden" not in sent.body
    assert sent.json["tools"] == [{"type": "image_generation"}, {"type": "function", **WEATHER}]
    assert {"input", "text", "reasoning", "include", "client_metadata"} <= sent.json.keys()


async def test_errors_of_relayed_requests(client, server):
    server.errs(400, "context_length_exceeded", "Too long.")
    arrived = asyncio.Event()
    server.answers(text("hel"), arrived, fails("server_error", "Lost it."))
    with pytest.raises(openai.BadRequestError) as refused:
        await client.responses.create(model="mine", input="hi")
    events = []
    async for event in await client.responses.create(model="mine", input="hi", stream=True):
        events.append(event)
        arrived.set()

    assert refused.value.code == "context_length_exceeded"
    assert events[-1].type in ("response.failed", "error")
    assert "Lost it." in events[-1].model_dump_json()


@pytest.mark.parametrize("kept", [{}, {"store": False}], ids=["kept", "not kept"])
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_conversation_that_another_format_began_goes_on(server, upstream, make_proxy, kept, streamed):
    """OpenAI answers 404 to an item that it has not written."""
    chats = {"base_url": upstream.url, "api_keys": ["key-a"]}
    proxy = await make_proxy({"providers": {"lab": server.provider, "chats": chats}})
    message = {"role": "assistant", "content": "a", "reasoning_content": "Hm"}
    upstream.responds(json_body={"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    async with openai.AsyncOpenAI(base_url=proxy.url, api_key=proxy.key, max_retries=0) as client:
        if streamed:
            async with client.responses.stream(model="chats/m", input=HI, **kept) as events:
                first = await events.get_final_response()
        else:
            first = await client.responses.create(model="chats/m", input=HI, **kept)
        said = [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in first.output]
        await client.responses.create(model="lab/gpt", input=[*HI, *said, *HI], **kept)

    assert [item["type"] for item in said] == ["reasoning", "message"]
    assert [item.get("type", "message") for item in server.asked[0].json["input"]] == ["message"] * 3


async def test_a_404_about_something_else_than_the_model_has_the_upstreams_words(client, server):
    words = f"Item with id 'rs_{'0a' * 24}' not found. Items are not persisted when `store` is set to false."
    server.errs(404, None, words)
    with pytest.raises(openai.NotFoundError) as refused:
        await client.responses.create(model="mine", input="hi")

    assert refused.value.body["message"] == words


async def test_a_relayed_client_is_translated_if_a_filter_reads_the_response(server, make_proxy):
    """Nothing is lost that the neutral events can carry, and what only this format has is carried whole."""
    loud = Sanitizer(name="loud", events=lambda request: Loud())
    proxy = await make_proxy({"providers": {"lab": server.provider}}, modules=[plugin_with(proxy_sanitizers=[loud])])
    server.answers(*CARRIED)
    server.answers(*CARRIED)
    async with openai.AsyncOpenAI(base_url=proxy.url, api_key=proxy.key) as client:
        asked = {"model": "lab/gpt", "input": "hi", "include": ["reasoning.encrypted_content"]}
        whole = await client.responses.create(**asked)
        async with client.responses.stream(**asked) as stream:
            streamed = await stream.get_final_response()

    for response in (whole, streamed):
        thought, search, said, patch = response.output
        assert (thought.summary[0].text, thought.encrypted_content) == ("Hm", "e1")
        assert (search.type, search.action.query) == ("web_search_call", "x")
        assert (said.phase, said.content[0].text, said.content[0].annotations[0].url) == (
            "commentary",
            "OK",
            "https://a",
        )
        assert (patch.name, patch.input) == ("patch", "*** x")


CARRIED = [
    reasoning("H", "m", encrypted="e1"),
    hosted("web_search_call", action={"type": "search", "query": "x"}),
    text(
        "o",
        "k",
        phase="commentary",
        annotations=({"type": "url_citation", "url": "https://a", "title": "A", "start_index": 0, "end_index": 2},),
    ),
    custom("patch", "*** x"),
    end(),
]


class Loud:
    """A filter that changes texts."""

    def feed(self, event):
        return [TextDelta(text=event.text.upper()) if isinstance(event, TextDelta) else event]

    def close(self):
        return []


async def test_openai_counts_the_tokens_of_requests_in_this_format(server, make_proxy):
    proxy = await make_proxy({"providers": {"openai": {**server.provider, "models": ["gpt-5"]}}})
    body = {**CODEX, "model": "openai/gpt-5"}
    answer = await proxy.client.post(
        f"{proxy.url}/responses/input_tokens", json=body, headers={"authorization": f"Bearer {proxy.key}"}
    )

    assert answer.json()["input_tokens"] == len(json.dumps(CODEX["input"]))
    assert "upstream: openai/gpt-5" in answer.headers.values()


# --- Providers that have both formats ----------------------------------------------------


async def test_each_client_is_relayed_where_a_provider_has_both_formats(server, make_proxy):
    models = {"gpt": {}, "codex": {"dialects": ["openai_responses"]}}
    provider = {**server.provider, "dialects": ["openai_chat", "openai_responses"], "models": models}
    proxy = await make_proxy({"providers": {"lab": provider}})
    async with openai.AsyncOpenAI(base_url=proxy.url, api_key=proxy.key) as client:
        await client.chat.completions.create(model="lab/gpt", messages=HI)
        await client.responses.create(model="lab/gpt", input="hi")
        only = await client.chat.completions.create(model="lab/codex", messages=HI)

    posts = [request.path for request in server.requests if request.method == "POST"]
    assert posts == ["/v1/chat/completions", "/v1/responses", "/v1/responses"]
    assert only.choices[0].message.content == "hello"


@pytest.mark.parametrize("plugins", [{"openai_responses": {"nonsense": 1}}, {"disabled": ["openai_responses"]}])
async def test_openai_works_without_this_format(make_proxy, plugins):
    proxy = await make_proxy({"plugins": plugins, "providers": {"openai": {"api_keys": ["a-key"], "discover": False}}})
    answer = await proxy.post("/responses", {"model": "openai/gpt-5", "input": "hi"})

    assert answer.status == 404


@pytest.mark.parametrize("stream", [False, True])
async def test_what_one_server_encrypted_is_sent_to_no_other(make_proxy, server, stream):
    async with FakeResponses() as other:
        proxy = await make_proxy({"providers": {"lab": server.provider, "other": other.provider}})
        server.answers(reasoning("Hm", encrypted="e1"), call("weather", '{"city":"Oslo"}', call_id="c1"), end())
        server.answers(text("ok"), end())
        other.answers(text("ok"), end())
        tools = [{"name": "weather", "input_schema": WEATHER["parameters"]}]
        body = {"max_tokens": 2000, "tools": tools, "stream": stream}
        first = await proxy.post("/messages", {**body, "model": "lab/gpt", "messages": HI})
        deltas = [event["delta"] for event in first.events if event["type"] == "content_block_delta"]
        if stream:
            signature = next(delta["signature"] for delta in deltas if "signature" in delta)
        else:
            signature = first.json["content"][0]["signature"]
        said = [
            {"type": "thinking", "thinking": "Hm", "signature": signature},
            {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Oslo"}},
        ]
        result = {"type": "tool_result", "tool_use_id": "c1", "content": "rain"}
        history = [*HI, {"role": "assistant", "content": said}, {"role": "user", "content": [result]}]
        for model in ("lab/gpt", "other/gpt"):
            answer = await proxy.post("/messages", {**body, "model": model, "messages": history})
            assert answer.status == 200

    assert '"e1"' in json.dumps(server.last.json)
    assert '"e1"' not in json.dumps(other.last.json)
    assert signature.startswith("proxy1.")
