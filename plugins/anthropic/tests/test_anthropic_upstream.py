"""Real clients of three formats through the whole proxy, in front of a server as strict as Anthropic's."""

import base64
import json

import anthropic
import openai
import pytest
from anthropic.types import ThreadNotFoundError

from proxy_core import Opaque, Sanitizer, seal
from proxy_core.dialects.openai_chat import decode
from proxy_core.testing import cut, pause, plugin_with
from proxy_plugin_anthropic.dialect.names import name_table
from proxy_plugin_anthropic.testing import API_KEY, FakeAnthropic, block, call, fails, finish, redacted, text, thinking
from proxy_plugin_anthropic.testing.message import plain

MODEL = "anthropic/claude-haiku-4-5"
NEWER = "anthropic/claude-opus-4-8"
HI = [{"role": "user", "content": "hi"}]
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n0000").decode()
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "weather.now", "parameters": PARAMETERS}}
#: What the API, which refuses that name, gets instead.
SENT = name_table(decode({"model": "m", "messages": HI, "tools": [WEATHER]})).to_upstream("weather.now")


@pytest.fixture
async def server():
    async with FakeAnthropic() as running:
        yield running


@pytest.fixture
def start(make_proxy, server):
    """A proxy with the provider ``anthropic``: ``await start(provider={...}, models={...})``."""

    async def make(*, provider=None, **tables):
        return await make_proxy({"providers": {"anthropic": {**server.provider, **(provider or {})}}, **tables})

    return make


@pytest.fixture
async def proxy(start):
    return await start(models={"mine": ["anthropic/claude-opus-4-8"]})


@pytest.fixture
async def client(proxy):
    async with openai.AsyncOpenAI(base_url=proxy.url, api_key=proxy.key, max_retries=0) as made:
        yield made


@pytest.fixture
async def own(proxy):
    url = proxy.url.removesuffix("/v1")
    async with anthropic.AsyncAnthropic(base_url=url, api_key=proxy.key, max_retries=0) as made:
        yield made


# --- Clients of OpenAI's format ----------------------------------------------------------


async def test_a_chat_plain_and_streamed(client, server):
    usage = {"input_tokens": 5, "cache_read_input_tokens": 3, "output_tokens": 2}
    for _ in range(2):
        server.answers(text("hel"), text("lo"), finish("max_tokens", **usage))
    asked = {"model": MODEL, "messages": [{"role": "system", "content": "brief"}, *HI], "max_tokens": 9}

    plain = await client.chat.completions.create(**asked)
    chunks = [
        chunk
        async for chunk in await client.chat.completions.create(
            **asked, stream=True, stream_options={"include_usage": True}
        )
    ]

    assert (plain.choices[0].message.content, plain.choices[0].finish_reason, plain.model) == ("hello", "length", MODEL)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "hello"
    assert chunks[-2].choices[0].finish_reason == "length"
    for found in (plain.usage, chunks[-1].usage):
        assert (found.prompt_tokens, found.completion_tokens, found.prompt_tokens_details.cached_tokens) == (8, 2, 3)
    request = server.asked[0]
    assert request.headers["x-api-key"] == API_KEY
    assert request.headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in request.headers
    assert request.json["system"] == [{"type": "text", "text": "brief"}]


async def test_parallel_tools_over_three_turns_with_thoughts(client, server):
    server.answers(
        thinking("Two cities."),
        redacted(),
        call(SENT, {"city": "Oslo"}, id="toolu_1"),
        call(SENT, {"city": "Rome"}, id="toolu_2"),
        finish("tool_use"),
    )
    server.answers(thinking("One more."), call(SENT, {"city": "Bern"}, id="toolu_3"), finish("tool_use"))
    server.answers(text("done"), finish())
    asked = {"model": MODEL, "tools": [WEATHER], "reasoning_effort": "low", "max_tokens": 8000}
    messages, said = [*HI], []

    for _ in range(3):
        stream = await client.chat.completions.create(messages=messages, stream=True, **asked)
        message = await assembled(stream)
        said.append(message)
        messages.append(message)
        messages += [{"role": "tool", "tool_call_id": c["id"], "content": "sun"} for c in message.get("tool_calls", ())]

    names = [c["function"]["name"] for message in said for c in message.get("tool_calls", ())]
    assert names == ["weather.now"] * 3
    assert [json.loads(c["function"]["arguments"])["city"] for c in said[0]["tool_calls"]] == ["Oslo", "Rome"]
    assert said[0]["reasoning_content"] == "Two cities."
    assert said[2]["content"] == "done"
    last = server.asked[2].json
    assert last["thinking"]["type"] == "enabled"
    assert [b["type"] for b in last["messages"][1]["content"]] == [
        "thinking",
        "redacted_thinking",
        "tool_use",
        "tool_use",
    ]
    assert [b["type"] for b in last["messages"][2]["content"]] == ["tool_result", "tool_result"]


async def assembled(stream):
    """The message that a client keeps which returns all that it received."""
    message = {"role": "assistant", "content": None}
    async for chunk in stream:
        delta = chunk.choices[0].delta.model_dump(exclude_none=True)
        for name in ("content", "reasoning_content"):
            if delta.get(name):
                message[name] = (message.get(name) or "") + delta[name]
        if "reasoning_details" in delta:
            message.setdefault("reasoning_details", []).extend(delta["reasoning_details"])
        for part in delta.get("tool_calls", ()):
            calls = message.setdefault("tool_calls", [])
            if part["index"] == len(calls):
                calls.append({"id": part["id"], "type": "function", "function": {"name": "", "arguments": ""}})
            for name, value in part["function"].items():
                calls[part["index"]]["function"][name] += value
    return message


async def test_clients_that_lose_their_thoughts_can_go_on(client, server):
    asked = {"model": MODEL, "tools": [WEATHER], "reasoning_effort": "low"}
    first = await client.chat.completions.create(messages=HI, **asked)
    (called,) = first.choices[0].message.tool_calls
    kept = {"role": "assistant", "content": None, "tool_calls": [called.model_dump(exclude_none=True)]}
    result = {"role": "tool", "tool_call_id": called.id, "content": "sun"}
    response = await client.chat.completions.with_raw_response.create(messages=[*HI, kept, result], **asked)

    assert response.parse().choices[0].message.content == "hello"
    assert response.headers["x-proxy-dropped"] == "reasoning_effort"
    assert "thinking" not in server.asked[-1].json


async def test_images_and_formats(client, server):
    server.answers(text('{"a":1}'), finish())
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    schema = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 0}}, "required": ["a"]}
    response = await client.chat.completions.create(
        model=NEWER,
        messages=[{"role": "user", "content": [image, {"type": "text", "text": "What?"}]}],
        response_format={"type": "json_schema", "json_schema": {"name": "r", "schema": schema}},
    )

    assert json.loads(response.choices[0].message.content) == {"a": 1}
    sent = server.asked[0].json
    assert [b["type"] for b in sent["messages"][0]["content"]] == ["image", "text"]
    assert sent["output_config"]["format"]["schema"]["additionalProperties"] is False


OLDER = "anthropic/claude-3-haiku-20240307"
ONE_NUMBER = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


@pytest.mark.parametrize("stream", [False, True])
async def test_older_models_answer_in_a_schema_by_a_tool_that_no_client_sees(client, server, stream):
    server.answers(call("json_response", {"a": 1}), finish("tool_use"))
    form = {"type": "json_schema", "json_schema": {"name": "r", "schema": ONE_NUMBER}}
    asked = {"model": OLDER, "messages": HI, "response_format": form, "max_tokens": 100}

    if stream:
        async with client.chat.completions.stream(**asked) as streamed:
            [choice] = (await streamed.get_final_completion()).choices
    else:
        [choice] = (await client.chat.completions.create(**asked)).choices

    assert json.loads(choice.message.content) == {"a": 1}
    assert (choice.finish_reason, choice.message.tool_calls) == ("stop", None)
    assert server.asked[0].json["tool_choice"]["name"] == "json_response"


@pytest.mark.parametrize("stream", [False, True])
async def test_so_they_do_for_the_responses_api(client, server, stream):
    pytest.importorskip("proxy_plugin_openai_responses")
    server.answers(call("json_response", {"a": 1}), finish("tool_use"))
    form = {"format": {"type": "json_schema", "name": "r", "schema": ONE_NUMBER}}
    asked = {"model": OLDER, "input": "hi", "text": form, "max_output_tokens": 100}

    if stream:
        async with client.responses.stream(**asked) as events:
            response = await events.get_final_response()
    else:
        response = await client.responses.create(**asked)

    assert json.loads(response.output_text) == {"a": 1}
    assert [item.type for item in response.output] == ["message"]


async def test_sources_reach_openais_clients_with_the_text_that_they_support(client, server):
    page = {"type": "web_search_result_location", "url": "https://x.example", "title": "X", "cited_text": "c"}
    server.answers(
        block(type="server_tool_use", id="srv_1", name="web_search", input={"query": "x"}),
        block(type="web_search_tool_result", tool_use_id="srv_1", content=[]),
        text("I think "),
        block(type="text", text="so", citations=[page]),
        finish(),
    )
    response = await client.chat.completions.create(model=MODEL, messages=HI)
    message = response.choices[0].message
    (note,) = message.annotations

    assert message.content[note.url_citation.start_index : note.url_citation.end_index] == "so"
    assert note.url_citation.url == "https://x.example"


ERRORS = {
    "bad_request": (400, None),
    "too_long": (400, "context_length_exceeded"),
    "output_too_long": (400, "context_length_exceeded"),
    "no_credit": (403, "insufficient_quota"),
    "billing": (403, "insufficient_quota"),
    "spending_limit": (429, "insufficient_quota"),
    "disabled": (403, "upstream_credential_refused"),
    "bad_key": (403, "upstream_credential_refused"),
    "permission": (403, "upstream_credential_refused"),
    "blocked": (403, "upstream_credential_refused"),
    "no_model": (404, "model_not_found"),
    "too_large": (413, None),
    "rate_limit": (429, "rate_limit_exceeded"),
    "acceleration": (429, "rate_limit_exceeded"),
    "long_context": (413, None),
    "api_error": (502, "upstream_error"),
    "timeout": (504, "timeout"),
    "overloaded": (503, "server_is_overloaded"),
}


@pytest.mark.parametrize("name", ERRORS)
async def test_errors_before_the_response(start, server, name):
    proxy = await start(routing={"max_wait_s": 0, "attempts_per_credential": 1})
    server.errs(name, times=9)
    answer = await proxy.chat(MODEL, "hi", stream=True)

    assert (answer.status, answer.error["code"]) == ERRORS[name]


async def test_a_rate_limited_key_rests_and_the_next_one_answers(start, server):
    server.api_keys.add("sk-ant-other")
    proxy = await start(provider={"api_keys": [API_KEY, "sk-ant-other"]})
    server.errs("rate_limit")
    answer = await proxy.chat(MODEL, "hi")

    assert answer.text == "hello"
    resting = [key for key in server.api_keys if proxy.cooldown_s(key) > 0]
    assert resting == [server.asked[0].headers["x-api-key"]]


async def test_errors_inside_a_stream(proxy, server):
    for _ in range(2):
        server.answers(text("hel"), fails("overloaded_error", "Overloaded"))
    server.answers(text("hel"), cut())
    broken, stated, ended = [await proxy.chat(MODEL, "hi", stream=True) for _ in range(3)]

    assert [answer.text for answer in (broken, stated, ended)] == ["hel"] * 3
    assert broken.error["code"] == "server_is_overloaded"
    assert ended.error["code"] == "upstream_cut_off"
    assert not any(answer.done for answer in (broken, stated, ended))


async def test_an_overload_before_the_first_word_is_retried(proxy, server):
    server.answers(fails())
    server.answers(text("hello"), finish())
    answer = await proxy.chat(MODEL, "hi", stream=True)

    assert (answer.text, len(server.asked)) == ("hello", 2)


# --- Clients of its own format -----------------------------------------------------------

#: Nothing of this is known to the proxy, except where the model's name is.
BODY = {
    "model": "mine",
    "max_tokens": 5000,
    "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
    "messages": [
        {"role": "user", "content": "hi"},
        {"role": "system", "content": "in mid-conversation"},
    ],
    "thinking": {"type": "adaptive"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "output_config": {"effort": "high"},
    "metadata": {"user_id": "u@x.example"},
    "news": {"model": "mine", "b": 1.50},
}
SAID = (
    thinking("Hm"),
    redacted(),
    block(type="server_tool_use", id="srv_1", name="web_search", input={"model": "claude-opus-4-8"}),
    block(type="text", text='"model": "claude-opus-4-8"', citations=[{"type": "news"}]),
    call("f", {"model": "claude-opus-4-8"}),
    finish("tool_use", service_tier="standard"),
)


@pytest.mark.parametrize("stream", [False, True])
async def test_its_own_clients_are_relayed_byte_for_byte(proxy, server, stream):
    server.checks = False
    server.answers(*SAID)
    server.answers(*SAID)
    betas = "mid-conversation-system-2026-04-07, news-2030-01-01"
    headers = {"x-api-key": proxy.key, "anthropic-version": "2026-10-21", "anthropic-beta": betas}
    body = {**BODY, "stream": True} if stream else BODY

    relayed = await proxy.client.post(f"{proxy.url}/messages?beta=true", json=body, headers=headers)
    direct = await proxy.client.post(
        f"{server.url}/messages",
        json={**body, "model": "claude-opus-4-8"},
        headers={**headers, "x-api-key": API_KEY},
    )

    through, past = server.asked
    assert through.json == past.json
    assert through.headers["anthropic-beta"] == betas.replace(" ", "")
    assert through.headers["anthropic-version"] == "2026-10-21"
    own_name = b'"model": "claude-opus-4-8"'
    wanted = direct.content.replace(own_name, b'"model": "mine"', 1).replace(b"msg_2", b"msg_1")
    assert relayed.content == wanted


@pytest.mark.parametrize("stream", [False, True])
async def test_what_only_this_format_has_survives_a_filter_of_events(make_proxy, server, stream):
    class Passing:
        def feed(self, event):
            return [event]

        def close(self):
            return []

    filters = plugin_with(proxy_sanitizers=[Sanitizer(name="passing", events=lambda request: Passing())])
    proxy = await make_proxy({"providers": {"anthropic": server.provider}}, modules=[filters])
    server.checks = False
    server.answers(*SAID)
    url = proxy.url.removesuffix("/v1")
    async with anthropic.AsyncAnthropic(base_url=url, api_key=proxy.key, max_retries=0) as client:
        if stream:
            async with client.messages.stream(model=NEWER, max_tokens=9, messages=HI) as events:
                first = await anext(aiter(events))
                message = await events.get_final_message()
            assert first.message.usage.input_tokens > 0
        else:
            message = await client.messages.create(model=NEWER, max_tokens=9, messages=HI)
    wanted = plain(SAID, NEWER, "m")["content"]

    assert [block.model_dump(exclude_none=True, warnings=False) for block in message.content] == wanted
    assert message.stop_reason == "tool_use"


async def test_the_vendors_library_sees_the_name_it_asked_for(own, server):
    message = await own.messages.create(model="mine", max_tokens=9, messages=HI)
    async with own.messages.stream(model="mine", max_tokens=9, messages=HI) as stream:
        streamed = await stream.get_final_message()

    assert (message.model, streamed.model) == ("mine", "mine")
    assert message.content[0].text == streamed.content[0].text == "hello"


@pytest.mark.parametrize("sent", [{}, {"anthropic-beta": "context-1m-2025-08-07"}])
async def test_a_name_that_asks_for_a_large_context_is_the_models_and_is_in_the_response(own, server, sent):
    """Without the ending, ``[models]`` and the upstream know it; the beta says the same."""
    message = await own.messages.create(model="mine[1m]", max_tokens=9, messages=HI, extra_headers=sent)
    async with own.messages.stream(model="mine[1m]", max_tokens=9, messages=HI, extra_headers=sent) as stream:
        streamed = await stream.get_final_message()

    assert (message.model, streamed.model) == ("mine[1m]", "mine[1m]")
    for request in server.asked:
        assert request.json["model"] == "claude-opus-4-8"
        assert request.json.keys() <= {"model", "max_tokens", "messages", "stream"}
        assert request.headers["anthropic-beta"] == "context-1m-2025-08-07"


async def test_betas_from_the_list_only(start, server):
    proxy = await start(plugins={"anthropic": {"betas": ["context-*"], "own_betas": ["mine-1"]}})
    headers = {"anthropic-beta": "context-1m-2025-08-07,other,bad name," + "x" * 200}
    await proxy.post("/messages", {"model": MODEL, "max_tokens": 9, "messages": HI}, headers=headers)
    await proxy.chat(MODEL, "hi")

    assert [request.headers["anthropic-beta"] for request in server.asked] == ["mine-1,context-1m-2025-08-07", "mine-1"]


async def test_its_errors_are_relayed_in_its_own_words(own, server):
    server.errs("too_long")
    server.answers(text("hel"), fails("overloaded_error", "Overloaded"))
    with pytest.raises(anthropic.BadRequestError, match="prompt is too long: 210000 tokens > 200000 maximum"):
        await own.messages.create(model=MODEL, max_tokens=9, messages=HI)
    with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
        async with own.messages.stream(model=MODEL, max_tokens=9, messages=HI) as stream:
            await stream.get_final_message()


async def test_the_first_event_is_passed_on_at_once(proxy, server):
    server.answers(text("hel"), pause(30), text("lo"), finish())
    body = {"model": MODEL, "messages": HI, "stream": True}
    headers = {"authorization": f"Bearer {proxy.key}"}
    async with proxy.client.stream("POST", f"{proxy.url}/chat/completions", json=body, headers=headers) as response:
        async for line in response.aiter_lines():
            if "hel" in line:
                break


THREAD = {"type": "continue", "previous_message_id": "msg_1"}
GONE = {"type": "not_found_error", "message": "Thread not found", "details": {"error_code": "thread_not_found"}}
BETA = "message-threads-2026-08-12"


@pytest.mark.parametrize("messages", [HI, []])
async def test_a_thread_at_anthropic_is_continued_there(own, server, messages):
    server.checks = False
    server.answers(text("hello"), finish())

    message = await own.beta.messages.create(model=MODEL, max_tokens=9, messages=messages, thread=THREAD, betas=[BETA])

    assert message.content[0].text == "hello"
    [request] = server.asked
    assert (request.json["thread"], request.json["messages"]) == (THREAD, messages)
    assert request.headers["anthropic-beta"] == BETA


async def test_a_thread_that_anthropic_lost_is_told_in_its_words(own, server):
    server.checks = False
    server.errs("no_thread")

    with pytest.raises(ThreadNotFoundError, match="Thread not found") as raised:
        await own.beta.messages.create(model=MODEL, max_tokens=9, messages=HI, thread=THREAD, betas=[BETA])

    assert raised.value.body["error"].items() >= GONE.items()


async def test_a_thread_at_anthropic_is_told_as_a_whole_to_whoever_stands_in(make_proxy, server, upstream):
    other = {"base_url": upstream.url, "api_keys": ["other-key-123456"], "models": ["m"], "discover": False}
    proxy = await make_proxy(
        {"providers": {"anthropic": server.provider, "other": other}, "models": {"mine": [MODEL, "other/m"]}}
    )
    server.checks = False
    server.answers(text("one"), finish())
    server.errs("spending_limit")
    upstream.responds(json_body={"choices": [{"message": {"content": "two"}, "finish_reason": "stop"}]})
    url = proxy.url.removesuffix("/v1")
    async with anthropic.AsyncAnthropic(base_url=url, api_key=proxy.key, max_retries=0) as own:
        thread = own.beta.messages.thread(model="mine", max_tokens=9)
        await thread.send({"role": "user", "content": "a"})
        reply = await thread.send({"role": "user", "content": "b"})

    assert reply.content[0].text == "two"
    talk = [("user", "a"), ("assistant", "one"), ("user", "b")]
    assert [(m["role"], m["content"]) for m in upstream.last.json["messages"]] == talk


# --- Clients of Gemini's format ----------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")
async def test_geminis_clients(proxy, server):
    pytest.importorskip("proxy_plugin_gemini")
    genai = pytest.importorskip("google.genai")
    types = genai.types
    options = types.HttpOptions(base_url=proxy.url.removesuffix("/v1"), api_version="v1beta")
    client = genai.Client(api_key=proxy.key, http_options=options).aio
    server.answers(
        thinking("Hm"), call("weather", {"city": "Oslo"}), call("weather", {"city": "Rome"}), finish("tool_use")
    )
    server.answers(text("hel"), text("lo"), finish())
    declared = types.FunctionDeclaration(name="weather", parameters_json_schema=PARAMETERS)
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[declared])],
        thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_budget=2000),
    )
    contents = [types.Content(role="user", parts=[types.Part(text="hi")])]

    first = await client.models.generate_content(model=NEWER, contents=contents, config=config)
    calls = [part.function_call for part in first.candidates[0].content.parts if part.function_call]
    answers = [types.FunctionResponse(id=c.id, name=c.name, response={"output": "sun"}) for c in calls]
    contents += [
        first.candidates[0].content,
        types.Content(role="user", parts=[types.Part(function_response=answer) for answer in answers]),
    ]
    stream = await client.models.generate_content_stream(model=NEWER, contents=contents, config=config)
    said = "".join([chunk.text or "" async for chunk in stream])
    await client.aclose()

    assert [c.args for c in calls] == [{"city": "Oslo"}, {"city": "Rome"}]
    assert first.candidates[0].content.parts[0].text == "Hm"
    assert said == "hello"
    assert [b["type"] for b in server.asked[1].json["messages"][2]["content"]] == ["tool_result", "tool_result"]


# --- Counts, models and other servers ------------------------------------------------------------


async def test_the_upstream_counts_tokens_for_clients_of_every_format(proxy, own, server):
    pytest.importorskip("proxy_plugin_gemini")
    tools = [{"name": "f", "input_schema": PARAMETERS}]
    thinking_too = {"type": "enabled", "budget_tokens": 2000}
    raw = await own.messages.with_raw_response.count_tokens(
        model=MODEL, messages=HI, tools=tools, thinking=thinking_too, extra_headers={"anthropic-beta": "news-1"}
    )
    contents = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "generationConfig": {"temperature": 1}}
    answer = await proxy.client.post(
        f"{proxy.url.removesuffix('/v1')}/v1beta/models/{MODEL}:countTokens",
        json={"generateContentRequest": {"model": f"models/{MODEL}", **contents}},
        headers={"x-goog-api-key": proxy.key},
    )

    through, translated = (r for r in server.requests if r.path == "/v1/messages/count_tokens")
    assert raw.headers["x-proxy-token-counter"] == f"upstream: {MODEL}"
    assert (await raw.parse()).input_tokens == len(json.dumps(through.json).split())
    assert through.headers["anthropic-beta"] == "news-1"
    assert answer.headers["x-proxy-token-counter"] == f"upstream: {MODEL}"
    assert answer.json()["totalTokens"] == len(json.dumps(translated.json).split())


async def test_models_are_listed_with_their_limits(start, server):
    server.page_size = 4
    proxy = await start()
    listed = {model["id"]: model for model in (await proxy.get("/models")).json["data"]}

    assert "anthropic/claude-opus-4-8" in listed
    assert "anthropic/claude-3-haiku-20240307" in listed
    assert listed["anthropic/claude-opus-4-8"]["max_completion_tokens"] == 128_000
    assert [r.path for r in server.requests if r.method == "GET"] == [
        "/v1/models?limit=1000",
        "/v1/models?limit=1000&after_id=claude-sonnet-4-5",
    ]


async def test_a_limit_from_the_options_of_a_model(start, server):
    options = {"max_tokens": 100, "service_tier": "auto"}
    proxy = await start(provider={"models": {"claude-haiku-4-5": {"options": options}}})
    await proxy.chat(MODEL, "hi")
    await proxy.chat(MODEL, "hi", max_tokens=7)

    assert [request.json["max_tokens"] for request in server.asked] == [100, 7]
    assert server.asked[0].json["service_tier"] == "auto"


async def test_another_server_that_speaks_the_format(make_proxy, server):
    other = {"base_url": f"{server.address}/v1/messages", "api_keys": [API_KEY], "preset": "anthropic"}
    proxy = await make_proxy({"providers": {"work": other}})

    assert (await proxy.chat("work/claude-haiku-4-5", "hi")).text == "hello"


# --- Clients of the Responses API --------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_thoughts_survive_in_the_responses_api(client, server, stream):
    pytest.importorskip("proxy_plugin_openai_responses")
    tools = [
        {"type": "function", "name": "weather.now", "parameters": PARAMETERS, "strict": False},
        {"type": "custom", "name": "patch"},
    ]
    asked = {"model": MODEL, "tools": tools, "reasoning": {"effort": "low", "summary": "auto"}, "store": False}
    server.answers(
        thinking("Two things."),
        redacted(),
        call(SENT, {"city": "Oslo"}, id="toolu_1"),
        call("patch", {"input": "*** Begin"}, id="toolu_2"),
        finish("tool_use"),
    )
    items = [{"role": "user", "content": "hi"}]
    include = ["reasoning.encrypted_content"]
    if stream:
        async with client.responses.stream(input=items, include=include, **asked) as events:
            first = await events.get_final_response()
    else:
        first = await client.responses.create(input=items, include=include, **asked)
    items += [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in first.output]
    for item in first.output:
        if item.type in ("function_call", "custom_tool_call"):
            items.append({"type": f"{item.type}_output", "call_id": item.call_id, "output": "done"})
    second = await client.responses.create(input=items, include=include, **asked)

    called = [(i.name, getattr(i, "arguments", None) or i.input) for i in first.output if i.type.endswith("_call")]
    assert called == [("weather.now", called[0][1]), ("patch", "*** Begin")]
    assert json.loads(called[0][1]) == {"city": "Oslo"}
    assert second.output_text == "hello"
    last = server.asked[1].json
    assert last["thinking"]["type"] == "enabled"
    kinds = [block["type"] for block in last["messages"][1]["content"]]
    assert kinds == ["thinking", "redacted_thinking", "tool_use", "tool_use"]


async def test_another_server_does_not_get_thoughts_that_it_cannot_have_signed(make_proxy, server):
    other = {"base_url": server.address, "api_keys": [API_KEY], "preset": "anthropic"}
    proxy = await make_proxy({"providers": {"anthropic": server.provider, "work": other}})
    asked = {"tools": [WEATHER], "messages": HI, "reasoning_effort": "low"}
    first = await proxy.post("/chat/completions", {"model": "work/claude-sonnet-4-6", **asked})
    message = first.json["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "sun"}
    more = {**asked, "messages": [*HI, message, result]}
    server.signed.clear()  # of which this server knows nothing
    elsewhere = await proxy.post("/chat/completions", {"model": "anthropic/claude-sonnet-4-6", **more})
    refused = await proxy.post("/chat/completions", {"model": "work/claude-sonnet-4-6", **more})

    assert elsewhere.text == "hello"
    assert "Invalid `signature`" in refused.error["message"]


@pytest.mark.parametrize("thinks", [{"type": "enabled", "budget_tokens": 2000}, None])
async def test_its_clients_may_have_talked_to_other_models_before(proxy, server, thinks):
    server.answers(thinking("Mine.", signature="sig"), text("a"), finish())
    await proxy.post("/messages", {"model": MODEL, "max_tokens": 9, "messages": HI})
    sealed = seal(Opaque(maker="google", payload="x"), "anthropic")
    use = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
    messages = [
        *HI,
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "Mine.", "signature": "sig"}]},
        {"role": "user", "content": "go on"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "Foreign.", "signature": sealed}]},
        {"role": "user", "content": "go on"},
        {
            "role": "assistant",
            "content": [
                {"type": "redacted_thinking", "data": sealed},
                {"type": "thinking", "thinking": "Unsigned.", "signature": ""},
                use,
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1"}]},
    ]
    tools = [{"name": "f", "input_schema": PARAMETERS}]
    asked = {"model": MODEL, "max_tokens": 5000, "messages": messages, "tools": tools}
    answer = await proxy.post("/messages", {**asked, **({"thinking": thinks} if thinks else {})})

    assert answer.status == 200, answer.json
    sent = server.asked[-1].json
    assert sent["messages"] == [*messages[:3], messages[4], {"role": "assistant", "content": [use]}, messages[6]]
    assert "thinking" not in sent


THOUGHT = [{"type": "thinking", "thinking": "Unsigned.", "signature": ""}, {"type": "text", "text": "a"}]


async def test_claude_gets_no_unsigned_thoughts_wherever_it_is_served(make_proxy, server, upstream):
    """They come from a model of another format; a server of another vendor's models may need those that it wrote."""
    work = {"base_url": server.address, "api_keys": [API_KEY], "preset": "anthropic"}
    other = {"base_url": upstream.url, "api_keys": ["key-a"], "preset": "anthropic"}
    chats = {"base_url": upstream.url, "api_keys": ["key-b"]}
    proxy = await make_proxy({"providers": {"work": work, "other": other, "chats": chats}})
    chat = {"message": {"role": "assistant", "content": "a", "reasoning_content": "Unsigned."}, "finish_reason": "stop"}
    upstream.for_path("/chat/completions").responds(json_body={"choices": [{"index": 0, **chat}]})
    asked = {"max_tokens": 50, "messages": HI}
    first = (await proxy.post("/messages", {"model": "chats/m", **asked})).json["content"]
    again = {**asked, "messages": [*HI, {"role": "assistant", "content": first}, *HI]}

    answers = [
        await proxy.post("/messages", {"model": "work/claude-sonnet-4-6", **again}),
        await proxy.post("/messages/count_tokens", {"model": "work/claude-sonnet-4-6", **again}),
    ]
    await proxy.post("/messages", {"model": "other/m", **again})

    assert first == THOUGHT
    assert [answer.status for answer in answers] == [200, 200]
    assert answers[1].headers["x-proxy-token-counter"] == "upstream: work/claude-sonnet-4-6"
    assert [r.json["messages"][1]["content"] for r in server.requests] == [THOUGHT[1:]] * 2
    assert upstream.last.json["messages"][1]["content"] == THOUGHT
