"""The official google-genai client through the proxy: in front of an OpenAI-speaking upstream, and relayed."""

import json

import pytest
from google import genai
from google.genai import errors, types
from msgspec.structs import replace

import proxy_core
from proxy_core.testing import chunk, cut, pause, plugin_with
from proxy_plugin_gemini import dialect as gemini
from proxy_plugin_gemini.dialect.encode import Style, translate
from proxy_plugin_gemini.dialect.response_decode import GeminiDecoder

WEATHER = types.FunctionDeclaration(
    name="weather",
    description="Tells the weather.",
    parameters=types.Schema(
        type="OBJECT", properties={"city": types.Schema(type="STRING", nullable=True)}, required=["city"]
    ),
)
# google-genai subclasses aiohttp's session, which aiohttp discourages: not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")
TOOLS = [types.Tool(function_declarations=[WEATHER])]


def client_of(proxy, version="v1beta", key=None):
    options = types.HttpOptions(base_url=proxy.url.removesuffix("/v1"), api_version=version)
    return genai.Client(api_key=key or proxy.key, http_options=options).aio


@pytest.fixture
async def client(proxy):
    client = client_of(proxy)
    yield client
    await client.aclose()


@pytest.mark.parametrize("version", ["v1beta", "v1"])
async def test_chat(proxy, upstream, version):
    client = client_of(proxy, version)
    config = types.GenerateContentConfig(system_instruction="be brief", temperature=0.5, max_output_tokens=9)

    response = await client.models.generate_content(model="demo/small", contents="hi", config=config)
    await client.aclose()

    assert response.text == "hello"
    assert response.candidates[0].finish_reason == "STOP"
    assert response.usage_metadata.total_token_count == 5
    sent = upstream.last.json
    assert sent["messages"] == [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
    assert (sent["temperature"], sent["max_tokens"], sent["model"]) == (0.5, 9, "small")


async def test_stream(client, upstream):
    upstream.streams("hel", "lo", usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5})

    chunks = [c async for c in await client.models.generate_content_stream(model="demo/small", contents="hi")]

    assert "".join(c.text or "" for c in chunks) == "hello"
    assert [c.candidates[0].finish_reason for c in chunks][-1] == "STOP"
    assert chunks[-1].usage_metadata.total_token_count == 5
    assert upstream.last.json["stream"] is True


async def test_thoughts_are_included_on_request(client, upstream):
    upstream.says(
        chunk({"role": "assistant", "reasoning_content": "hm"}), chunk({"content": "ok"}), chunk({}, finish="stop")
    )
    asks = types.GenerateContentConfig(
        thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_budget=2000)
    )

    for config, thoughts in ((asks, ["hm"]), (None, [])):
        stream = await client.models.generate_content_stream(model="demo/small", contents="hi", config=config)
        parts = [p async for c in stream for p in c.candidates[0].content.parts]
        assert [p.text for p in parts if p.thought] == thoughts
        assert "".join(p.text for p in parts if not p.thought) == "ok"
    assert "reasoning_effort" not in upstream.last.json
    assert upstream.requests[0].json["reasoning_effort"] == "low"


async def test_tools_in_a_stream_over_two_turns(client, upstream):
    start = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}
    upstream.says(
        chunk({"role": "assistant", "content": None, "tool_calls": [start]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"Oslo"}'}}]}),
        chunk({}, finish="tool_calls"),
        b"data: [DONE]\n\n",
    )
    upstream.streams("cold")
    config = types.GenerateContentConfig(tools=TOOLS)
    contents = [types.Content(role="user", parts=[types.Part(text="weather in Oslo?")])]

    stream = await client.models.generate_content_stream(model="demo/small", contents=contents, config=config)
    parts = [p async for c in stream for p in c.candidates[0].content.parts]
    (call,) = [p.function_call for p in parts if p.function_call]
    answer = types.FunctionResponse(id=call.id, name=call.name, response={"output": "minus 3"})
    contents += [
        types.Content(role="model", parts=parts),
        types.Content(role="user", parts=[types.Part(function_response=answer)]),
    ]
    response = await client.models.generate_content_stream(model="demo/small", contents=contents, config=config)
    text = "".join([c.text or "" async for c in response])

    assert (call.name, call.args, call.id) == ("weather", {"city": "Oslo"}, "call_1")
    assert text == "cold"
    (tool,) = upstream.last.json["tools"]
    assert tool["function"]["parameters"]["properties"] == {"city": {"type": ["string", "null"]}}
    _, said, result = upstream.last.json["messages"]
    assert said["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city":"Oslo"}'}
    assert (result["role"], result["tool_call_id"], result["content"]) == ("tool", "call_1", "minus 3")


async def test_structured_output_and_images(client, upstream):
    image = types.Part.from_bytes(data=b"png", mime_type="image/png")
    schema = types.Schema(type="OBJECT", properties={"a": types.Schema(type="INTEGER")})
    config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=schema)

    await client.models.generate_content(model="demo/small", contents=[image, "what?"], config=config)

    sent = upstream.last.json
    assert sent["response_format"]["json_schema"]["schema"] == {
        "type": "object",
        "properties": {"a": {"type": "integer"}},
    }
    assert sent["messages"][0]["content"][0]["image_url"]["url"] == "data:image/png;base64,cG5n"


async def test_a_schema_in_googles_spelling_reaches_a_chat_upstream_as_a_json_schema(proxy, upstream):
    own = {"type": "OBJECT", "properties": {"a": {"type": "INTEGER"}}}
    config = {"responseMimeType": "application/json", "responseJsonSchema": own}
    tools = [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": own}]}]
    contents = [{"role": "user", "parts": [{"text": "hi"}]}]

    url = proxy.url.removesuffix("/v1") + "/v1beta/models/demo/small:generateContent"
    body = {"contents": contents, "generationConfig": config, "tools": tools}
    response = await proxy.client.post(url, json=body, headers={"x-goog-api-key": proxy.key})

    plain = {"type": "object", "properties": {"a": {"type": "integer"}}}
    assert response.status_code == 200
    assert upstream.last.json["response_format"]["json_schema"]["schema"] == plain
    assert upstream.last.json["tools"][0]["function"]["parameters"] == plain


async def test_data_that_the_client_writes_for_urls_reaches_a_chat_upstream_in_the_usual_form(client, upstream):
    image = types.Part.from_bytes(data=b"\xfb\xef\xff", mime_type="image/png")

    await client.models.generate_content(model="demo/small", contents=[image, "what?"])

    assert upstream.last.json["messages"][0]["content"][0]["image_url"]["url"] == "data:image/png;base64,++//"


async def test_inline_text_and_images_in_data_links_reach_a_chat_upstream(client, upstream):
    parts = [
        types.Part.from_bytes(data="für dich".encode(), mime_type="text/markdown"),
        types.Part.from_uri(file_uri="data:image/webp;base64,aGk=", mime_type="image/webp"),
    ]
    await client.models.generate_content(model="demo/small", contents=types.Content(role="user", parts=parts))

    assert upstream.last.json["messages"][-1]["content"] == [
        {"type": "text", "text": "für dich"},
        {"type": "image_url", "image_url": {"url": "data:image/webp;base64,aGk="}},
    ]


async def test_a_text_file_is_not_run_together_with_the_texts_beside_it(client, upstream):
    def file(words):
        return types.Part.from_bytes(data=words.encode(), mime_type="text/plain")

    parts = [types.Part(text="Com"), types.Part(text="pare"), file("one"), file("two"), types.Part(text="Well?")]
    await client.models.generate_content(model="demo/small", contents=types.Content(role="user", parts=parts))

    assert upstream.last.json["messages"][-1]["content"] == "Compare\n\none\n\ntwo\n\nWell?"


async def test_errors_are_googles(client, proxy, upstream):
    upstream.responds(400, {"error": {"message": "too long", "code": "context_length_exceeded"}})
    with pytest.raises(errors.ClientError) as refused:
        await client.models.generate_content(model="demo/small", contents="hi")
    with pytest.raises(errors.ClientError) as unknown:
        await client.models.generate_content(model="no/model", contents="hi")
    stranger = client_of(proxy, key="wrong")
    with pytest.raises(errors.ClientError) as unauthorized:
        await stranger.models.generate_content(model="demo/small", contents="hi")
    await stranger.aclose()
    address = proxy.url.removesuffix("/v1") + "/v1beta/models/demo%2Fsmall:predict"
    unserved = await proxy.client.post(address, json={"instances": []}, headers={"x-goog-api-key": proxy.key})

    assert (refused.value.code, refused.value.status, refused.value.message) == (400, "INVALID_ARGUMENT", "too long")
    assert (unknown.value.code, unknown.value.status) == (404, "NOT_FOUND")
    assert (unauthorized.value.code, unauthorized.value.status) == (401, "UNAUTHENTICATED")
    assert (unserved.status_code, unserved.json()["error"]["status"]) == (404, "NOT_FOUND")


async def test_a_pool_in_cooldown_says_for_how_long(client, proxy, upstream):
    upstream.responds(429, headers={"retry-after": "90"})

    with pytest.raises(errors.ClientError) as limited:
        await client.models.generate_content(model="demo/small", contents="hi")

    assert (limited.value.code, limited.value.status) == (429, "RESOURCE_EXHAUSTED")
    (delay,) = [d["retryDelay"] for d in limited.value.details["error"]["details"] if "retryDelay" in d]
    assert 80 <= int(delay.removesuffix("s")) <= 90


async def test_an_error_inside_a_stream(client, upstream):
    upstream.says(chunk({"content": "hel"}), b'data: {"error":{"message":"lost it","code":500}}\n\n')
    seen = []

    with pytest.raises(errors.APIError) as lost:
        async for c in await client.models.generate_content_stream(model="demo/small", contents="hi"):
            seen.append(c.text)

    assert seen == ["hel"]
    assert "lost it" in str(lost.value)


@pytest.mark.parametrize("ending", ["error", "cut"])
async def test_an_error_inside_a_stream_is_bare_json_in_a_piece_of_its_own(proxy, upstream, ending):
    """As @google/genai looks for it: each piece that it reads is parsed as JSON."""
    ends = {"error": b'data: {"error":{"message":"lost it","code":500}}\n\n', "cut": cut()}
    upstream.says(chunk({"content": "hel"}), pause(0.1), ends[ending])
    address = proxy.url.removesuffix("/v1") + "/v1beta/models/demo%2Fsmall:streamGenerateContent?alt=sse"
    body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}

    async with proxy.client.stream("POST", address, json=body, headers={"x-goog-api-key": proxy.key}) as response:
        *events, last = [piece async for piece in response.aiter_raw()]

    assert all(piece.startswith(b"data: ") for piece in events)
    assert list(json.loads(last)) == ["error"]
    assert json.loads(last)["error"]["status"] == "UNAVAILABLE"


REFUSED = {
    "a hosted tool": ({"tools": [{"googleSearch": {}}]}, "googleSearch", "tools"),
    "another hosted tool": ({"tools": [{"codeExecution": {}}]}, "codeExecution", "tools"),
    "a file by address": (
        {"contents": [{"parts": [{"fileData": {"fileUri": "gs://a", "mimeType": "video/mp4"}}]}]},
        "fileData",
        "contents",
    ),
    "a function that is none": ({"tools": [{"functionDeclarations": [{}]}]}, "name", "tools[0]"),
    "no contents": ({"contents": []}, "contents", "contents"),
}


@pytest.mark.parametrize(("fields", "words", "field"), REFUSED.values(), ids=REFUSED)
async def test_a_refusal_is_in_the_clients_own_words(proxy, upstream, fields, words, field):
    body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], **fields}
    address = proxy.url.removesuffix("/v1") + "/v1beta/models/demo%2Fsmall:generateContent"

    answer = await proxy.client.post(address, json=body, headers={"x-goog-api-key": proxy.key})

    error = answer.json()["error"]
    assert (answer.status_code, error["status"]) == (400, "INVALID_ARGUMENT")
    assert words in error["message"]
    (violation,) = [v for d in error["details"] for v in d.get("fieldViolations", ())]
    assert violation["field"].startswith(field)
    assert "messages" not in answer.text
    assert upstream.requests == []


async def test_an_upstreams_field_has_the_clients_name(proxy, upstream):
    words = {"message": "Too many tokens in 'messages'.", "param": "messages[2].content"}
    upstream.responds(400, {"error": words})

    answer = await proxy.client.post(
        proxy.url.removesuffix("/v1") + "/v1beta/models/demo%2Fsmall:generateContent",
        json={"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
        headers={"x-goog-api-key": proxy.key},
    )

    error = answer.json()["error"]
    assert error["message"] == words["message"], "the upstream's words are its own"
    assert error["details"][-1]["fieldViolations"][0]["field"] == "contents[2].content"


async def test_a_stream_without_sse_is_an_array(proxy):
    body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
    address = "beta/models/demo%2Fsmall:streamGenerateContent"  # behind ``/v1``

    answer = await proxy.post(address, body)

    (response,) = json.loads(answer.body)
    assert response["candidates"][0]["content"]["parts"] == [{"text": "hello"}]


# --- A provider that speaks Gemini -------------------------------------------------------

REPLY = (
    b'data: {"candidates": [{"content": {"role": "model", "parts": [{"text": "hel", "own": 1}]}}]}\r\n\r\n',
    b'data: {"candidates": [{"content": {"parts": [{"functionCall": {"name": "get_it_", "args": {"a": 1}},'
    b' "thoughtSignature": "c2ln"}]}, "finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 9,'
    b' "candidatesTokenCount": 2, "thoughtsTokenCount": 3}, "responseId": "r1", "modelVersion": "g"}\r\n\r\n',
)


@pytest.fixture
def google(upstream):
    """A provider in Gemini's format, relayed to Gemini's clients, translated for others."""

    def encode(call, credential):
        body, dropped = gemini.request_body(call.body), ()
        if call.chat is not None:
            encoded = translate(call.chat, style=Style(call_ids=False))
            body, dropped = encoded.body, encoded.dropped
        method = "streamGenerateContent?alt=sse" if call.stream else "generateContent"
        return proxy_core.UpstreamRequest(
            url=f"{upstream.url}/google/{method}", headers=[], content=proxy_core.json_bytes(body), dropped=dropped
        )

    def decoder(call, response):
        return GeminiDecoder(response.is_event_stream, names=translate(call.chat).names, seed="s")

    return proxy_core.Provider(
        name="google", encode=encode, dialects=["gemini"], decoder=decoder, relays=True, credential_optional=True
    )


async def test_a_gemini_client_of_a_gemini_provider_is_relayed(google, upstream, make_proxy):
    upstream.says(*REPLY)
    proxy = await make_proxy({}, modules=[plugin_with(proxy_providers=[google])])
    address = "/models/google/gemini-2.5-pro:streamGenerateContent?alt=sse"
    body = {"contents": [{"role": "user", "parts": [{"text": "hi", "own": True}]}], "ownField": 1}

    answer = await proxy.post(address, body)

    own = b'"modelVersion": "google/gemini-2.5-pro"}'
    assert answer.body == b"".join(REPLY).replace(b'"modelVersion": "g"}', own)
    assert upstream.last.json == body


async def test_an_openai_client_of_a_gemini_provider_is_translated(google, upstream, make_proxy):
    upstream.says(*REPLY)
    tool = {"type": "function", "function": {"name": "get it!", "parameters": {"type": "object", "properties": {}}}}
    proxy = await make_proxy({}, modules=[plugin_with(proxy_providers=[google])])

    answer = await proxy.chat("google/gemini-3-pro-preview", "hi", stream=True, tools=[tool])
    calls = [
        call
        for event in proxy_core.sse.events(answer.body)
        if event.data != b"[DONE]"
        for choice in json.loads(event.data)["choices"]
        for call in choice["delta"].get("tool_calls", ())
    ]
    said = {
        "role": "assistant",
        "content": "hel",
        "tool_calls": [{**calls[0], "function": {"name": "get it!", "arguments": '{"a":1}'}}],
    }
    history = [
        {"role": "user", "content": "hi"},
        said,
        {"role": "tool", "tool_call_id": calls[0]["id"], "content": "x"},
    ]
    await proxy.post(
        "/chat/completions", {"model": "google/gemini-3-pro-preview", "messages": history, "tools": [tool]}
    )

    assert answer.text == "hel"
    assert calls[0]["function"]["name"] == "get it!"
    assert calls[0]["extra_content"] == {"google": {"thought_signature": "c2ln"}}
    _, model, user = upstream.last.json["contents"]
    assert model["parts"][1] == {"functionCall": {"name": "get_it_", "args": {"a": 1}}, "thoughtSignature": "c2ln"}
    assert user["parts"] == [{"functionResponse": {"name": "get_it_", "response": {"output": "x"}}}]


async def test_an_empty_response_is_retried_before_any_event_was_sent(google, upstream, make_proxy):
    upstream.says(b'data: {"candidates": [{"content": {"parts": []}, "finishReason": "STOP"}], "responseId": "r"}\n\n')
    upstream.says(*REPLY)
    proxy = await make_proxy({}, modules=[plugin_with(proxy_providers=[google])])

    answer = await proxy.chat("google/gemini-2.5-pro", "hi", stream=True)

    assert answer.text == "hel"
    assert len(upstream.requests) == 2


async def test_dropped_fields_are_named_in_a_header(google, upstream, make_proxy):
    upstream.says(*REPLY)
    proxy = await make_proxy({}, modules=[plugin_with(proxy_providers=[google])])

    answer = await proxy.chat("google/gemini-2.5-pro", "hi", stream=True, presence_penalty=1, user="u")

    assert answer.headers["x-proxy-dropped"] == "presence_penalty, user"


@pytest.mark.parametrize("version", ["v1beta", "v1"])
async def test_models(google, upstream, make_proxy, version):
    listed = replace(google, models=[proxy_core.ModelSpec(id="gemini-2.5-pro")])
    proxy = await make_proxy({}, modules=[plugin_with(proxy_providers=[listed])])
    client = client_of(proxy, version)

    names = [m.name async for m in await client.models.list()]
    one = await client.models.get(model="google/gemini-2.5-pro")
    await client.aclose()

    assert names == [one.name] == ["models/google/gemini-2.5-pro"]
    assert one.supported_actions == ["generateContent", "streamGenerateContent"]


# --- Embeddings --------------------------------------------------------------------------


async def test_embeddings_of_a_provider_that_speaks_openais(client, upstream):
    data = [{"object": "embedding", "index": n, "embedding": [0.5, n]} for n in (1, 0)]
    usage = {"prompt_tokens": 4, "total_tokens": 4}
    upstream.for_path("/embeddings").responds(json_body={"object": "list", "data": data, "model": "m", "usage": usage})
    config = types.EmbedContentConfig(output_dimensionality=2, task_type="RETRIEVAL_QUERY")

    response = await client.models.embed_content(model="demo/small", contents=["one", "two"], config=config)

    assert [vector.values for vector in response.embeddings] == [[0.5, 0.0], [0.5, 1.0]]
    assert upstream.last.json == {
        "model": "small",
        "input": ["one", "two"],
        "encoding_format": "float",
        "dimensions": 2,
    }


async def test_a_method_that_is_not_served_is_named(client, proxy):
    answer = await proxy.client.post(
        f"{proxy.url.removesuffix('/v1')}/v1beta/models/demo/small:batchGenerateContent",
        json={},
        headers={"x-goog-api-key": proxy.key},
    )

    assert answer.status_code == 404
    assert "batchGenerateContent" in answer.json()["error"]["message"]


@pytest.mark.parametrize("version", ["v1beta", "v1"])
async def test_tokens_are_counted_without_any_request(proxy, upstream, version):
    client = client_of(proxy, version)

    counted = await client.models.count_tokens(model="demo/small", contents="Hello there, how are you today?")
    longer = await client.models.count_tokens(model="demo/small", contents="Hello there, how are you today? " * 9)
    await client.aclose()

    assert 0 < counted.total_tokens < longer.total_tokens < 200
    assert upstream.requests == []


async def test_counting_refuses_an_invalid_request(client):
    with pytest.raises(errors.ClientError) as refused:
        await client.models.count_tokens(model="nobody/small", contents="Hello")

    assert (refused.value.code, refused.value.status) == (404, "NOT_FOUND")
