"""Real clients through the whole proxy to a fake Google."""

import openai
import pytest

from proxy_plugin_gemini.testing import API_KEY, finish, text

pytestmark = pytest.mark.anyio

OPTIONS = {
    "generationConfig": {"temperature": 0.25, "topK": 7, "thinkingConfig": {"thinkingBudget": 300}},
    "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
}


@pytest.fixture
async def proxy(start):
    return await start()


@pytest.fixture
async def client(proxy):
    async with openai.AsyncOpenAI(base_url=proxy.url, api_key=proxy.key, max_retries=0) as made:
        yield made


async def test_a_chat_streamed_and_plain(client, proxy, google):
    chunks = [
        chunk
        async for chunk in await client.chat.completions.create(
            model="gemini/gemini-2.5-pro", messages=[{"role": "user", "content": "hi"}], stream=True
        )
    ]
    plain = await proxy.chat("gemini/gemini-2.5-pro", "hi")

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == plain.text == "hello"
    assert [request.path.partition("?")[0].rpartition(":")[2] for request in google.requests] == [
        "streamGenerateContent",
        "generateContent",
    ]


async def test_an_exhausted_quota_is_reported_to_the_client(proxy, google):
    google.errs("daily")
    answer = await proxy.chat("gemini/gemini-2.5-pro", "hi")

    assert (answer.status, answer.error["code"]) == (429, "quota_exhausted")


@pytest.mark.parametrize("word", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "OTHER"])
async def test_a_failure_after_a_text_is_no_finished_turn(client, google, word):
    asks = {"model": "gemini/gemini-2.5-pro", "messages": [{"role": "user", "content": "hi"}]}
    google.answers(text("par"), finish(word))
    seen = []
    with pytest.raises(openai.APIError, match=word):
        async for chunk in await client.chat.completions.create(**asks, stream=True):
            seen.append(chunk.choices[0])
    google.answers(text("par"), finish(word))
    google.answers(text("whole"), finish())
    plain = await client.chat.completions.create(**asks)

    assert "".join(choice.delta.content or "" for choice in seen) == "par"
    assert [choice.finish_reason for choice in seen if choice.finish_reason] == []
    assert plain.choices[0].message.content == "whole"


async def test_models_are_listed(proxy):
    listed = {model["id"] for model in (await proxy.get("/models")).json["data"]}

    assert {"gemini/gemini-2.5-pro", "gemini/gemini-embedding-001"} <= listed
    assert "gemini/aqa" not in listed


async def test_every_page_of_the_list_of_models_is_read(proxy, google):
    google.page_size = 5
    listed = (await proxy.client.get(proxy.url + "/models", headers={"authorization": f"Bearer {proxy.key}"})).json()
    paths = [request.path for request in google.requests if request.path.startswith("/v1beta/models?")]

    assert {"gemini/gemini-2.5-pro", "gemini/gemini-embedding-001"} <= {model["id"] for model in listed["data"]}
    assert [path.rpartition("pageToken=")[2] for path in paths[1:]] == ["page%2B5", "page%2B10"]


async def test_requests_to_the_public_api_lack_the_envelopes_fields(proxy, google):
    await proxy.chat("gemini/gemini-2.5-pro", "hi")
    request = google.called("generateContent")[0]

    assert request.path == "/v1beta/models/gemini-2.5-pro:generateContent"
    assert request.headers["x-goog-api-key"] == API_KEY
    assert not {"session_id", "safetySettings", "model"} & request.json.keys()


async def test_a_name_that_no_gemini_model_can_have_is_unknown(proxy):
    answer = await proxy.chat("gemini/a/b", "hi")

    assert (answer.status, answer.error["code"], answer.error["param"]) == (404, "model_not_found", "model")


async def test_what_only_google_has_is_left_out_of_an_estimate(start):
    proxy = await start(provider={"api_keys": ["wrong-key-wrong"]})
    video = {"fileData": {"mimeType": "video/mp4", "fileUri": "https://youtu.be/x"}}
    contents = [{"role": "user", "parts": [{"text": "How are you?"}, video]}]
    asked = {"contents": contents, "tools": [{"googleSearch": {}}], "cachedContent": "cachedContents/x"}
    for body in (asked, {"generateContentRequest": asked}):
        answer = await proxy.client.post(
            f"{proxy.url.removesuffix('/v1')}/v1beta/models/gemini/gemini-2.5-pro:countTokens",
            json=body,
            headers={"x-goog-api-key": proxy.key},
        )

        assert answer.status_code == 200, answer.text
        assert 0 < answer.json()["totalTokens"] < 30


async def test_a_wrong_key_is_the_proxys_problem(start, google):
    proxy = await start(provider={"api_keys": ["wrong-key-wrong"]})
    answer = await proxy.chat("gemini/gemini-2.5-pro", "hi")

    assert (answer.status, answer.error["code"]) == (403, "upstream_credential_refused")


@pytest.mark.parametrize("spelling", ["generationConfig", "generation_config"])
async def test_options_fill_in_what_a_gemini_client_leaves_out(start, google, spelling):
    tuned = await start(provider={"models": {"careful": {"id": "gemini-2.5-pro", "options": OPTIONS}}})
    google.checks = False  # the fake knows only one spelling
    body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], spelling: {"temperature": 1}}
    answer = await tuned.post("/models/gemini/careful:generateContent", body)

    assert answer.status == 200
    sent_body = google.called("generateContent")[0].json
    assert sent_body[spelling] == {**OPTIONS["generationConfig"], "temperature": 1}
    assert len({"generationConfig", "generation_config"} & sent_body.keys()) == 1


async def test_options_of_an_embedding_model(start, google):
    options = {"taskType": "RETRIEVAL_DOCUMENT", "outputDimensionality": 2}
    proxy = await start(provider={"models": {"gemini-embedding-001": {"options": options}}})

    await proxy.post("/embeddings", {"model": "gemini/gemini-embedding-001", "input": ["a", "b"], "dimensions": 1})

    for one in google.called("batchEmbed")[0].json["requests"]:
        assert (one["taskType"], one["outputDimensionality"]) == ("RETRIEVAL_DOCUMENT", 1)


async def test_embeddings(client, google):
    one = await client.embeddings.create(
        model="gemini/gemini-embedding-001", input="four", dimensions=2, encoding_format="float"
    )
    many = await client.embeddings.create(model="gemini/gemini-embedding-001", input=["a", "bc"])

    assert [e.embedding for e in one.data] == [[4.0, 0.0]]
    assert [e.embedding for e in many.data] == [[1.0, 0.0, 0.0], [2.0, 0.0, 0.0]]
    assert [r.path.rpartition(":")[2] for r in google.called("mbedContent")] == ["embedContent", "batchEmbedContents"]


async def test_geminis_own_embeddings_are_relayed_with_every_field(proxy, google):
    one = {"content": {"parts": [{"text": "four"}]}, "taskType": "RETRIEVAL_QUERY", "outputDimensionality": 2}
    headers = {"x-goog-api-key": proxy.key, "authorization": ""}
    path = f"{proxy.url.removesuffix('/v1')}/v1beta/models/gemini/gemini-embedding-001"

    single = await proxy.client.post(f"{path}:embedContent", json=one, headers=headers)
    batch = {"requests": [{"model": "models/gemini/gemini-embedding-001", **one}] * 2}
    many = await proxy.client.post(f"{path}:batchEmbedContents", json=batch, headers=headers)

    assert single.json() == {"embedding": {"values": [4.0, 0.0]}}
    assert many.json() == {"embeddings": [{"values": [4.0, 0.0]}] * 2}
    sent_single, sent_batch = (r.json for r in google.called("mbedContent"))
    assert sent_single == one
    assert sent_batch == {"requests": [{"model": "models/gemini-embedding-001", **one}] * 2}


async def test_more_inputs_than_a_batch_takes_are_refused(proxy):
    answer = await proxy.post("/embeddings", {"model": "gemini/gemini-embedding-001", "input": ["a"] * 101})

    assert (answer.status, answer.error["param"]) == (400, "input")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of aiohttp, about how google-genai uses it
async def test_the_vendors_own_library_takes_the_fake_for_google(google):
    genai = pytest.importorskip("google.genai")
    client = genai.Client(
        api_key=API_KEY, http_options=genai.types.HttpOptions(base_url=google.address, api_version="v1beta")
    )
    response = await client.aio.models.generate_content(model="gemini-2.5-flash", contents="hi")
    streamed = [
        chunk.text
        async for chunk in await client.aio.models.generate_content_stream(model="gemini-2.5-flash", contents="hi")
    ]

    assert response.text == "hello"
    assert "".join(part for part in streamed if part) == "hello"
    assert (await client.aio.models.count_tokens(model="gemini-2.5-flash", contents="hi")).total_tokens
    assert "models/gemini-2.5-pro" in [model.name async for model in await client.aio.models.list()]
    await client.aio.aclose()


async def test_google_counts_tokens_for_clients_of_every_format(proxy, google):
    base, model, key = proxy.url.removesuffix("/v1"), "gemini/gemini-2.5-pro", {"x-goog-api-key": proxy.key}
    whole = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "systemInstruction": {"parts": [{"text": "x"}]}}

    for body in (whole, {"generateContentRequest": {"model": "models/other", **whole}}):
        url = f"{base}/v1beta/models/{model}:countTokens"
        answer = await proxy.client.post(url, json=body, headers=key)

        assert answer.json()["totalTokens"] > 0
        assert answer.headers["x-proxy-token-counter"] == "upstream: gemini/gemini-2.5-pro"
        sent = google.called("countTokens")[-1]
        assert sent.path == "/v1beta/models/gemini-2.5-pro:countTokens"
        assert sent.json == {"generateContentRequest": {"model": "models/gemini-2.5-pro", **whole}}


SAYS_HI = [{"role": "user", "content": "hi"}]
COUNTED = {
    "/messages/count_tokens": {"messages": SAYS_HI, "thinking": {"type": "enabled", "budget_tokens": 2000}},
    "/responses/input_tokens": {"input": "hi", "reasoning": {"effort": "low"}},
}


@pytest.mark.parametrize("path", COUNTED)
async def test_google_counts_what_other_formats_clients_ask_it(proxy, google, path):
    tools = {"tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}]}
    if "messages" in path:
        tools = {"tools": [{"name": "f", "input_schema": {"type": "object"}}]}

    answer = await proxy.post(path, {"model": "gemini/gemini-2.5-pro", **COUNTED[path], **tools})

    assert answer.status == 200
    assert answer.headers["x-proxy-token-counter"] == "upstream: gemini/gemini-2.5-pro"
    assert "x-proxy-token-counter-note" not in answer.headers
    assert answer.json["input_tokens"] > 0
    (sent,) = google.called("countTokens")
    assert sent.json["generateContentRequest"]["tools"]


NAMED = [
    (404, "CachedContent not found: cachedContents/x"),
    (403, "CachedContent not found (or permission denied)"),
    (403, "You do not have permission to access the File abc or it may not exist."),
    (404, "File files/abc not found"),
]


@pytest.mark.parametrize("name", ["gemini", "mine"])
@pytest.mark.parametrize(("status", "words"), NAMED)
async def test_a_cache_or_file_that_one_account_lacks_is_asked_of_others_and_told(
    make_proxy, upstream, name, status, words
):
    provider = {"preset": "gemini", "base_url": upstream.url, "api_keys": ["key-a", "key-b"]}
    proxy = await make_proxy({"providers": {name: provider}})
    upstream.responds(status, {"error": {"code": status, "message": words, "status": "NOT_FOUND"}})
    body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "cachedContent": "cachedContents/x"}

    answer = await proxy.post(f"/../v1beta/models/{name}/m:generateContent", body)

    assert (answer.status, answer.json["error"]["message"]) == (status, words)
    assert sorted(request.headers["x-goog-api-key"] for request in upstream.requests) == ["key-a", "key-b"]
    assert [proxy.cooldown_s(key) for key in ("key-a", "key-b")] == [0, 0]


async def test_dropped_fields_are_told_by_the_clients_names(make_proxy, upstream):
    provider = {"preset": "anthropic", "base_url": upstream.url, "api_keys": ["key-a"]}
    proxy = await make_proxy({"providers": {"up": provider}})
    message = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "hi"}], "usage": {}}
    upstream.responds(json_body={**message, "stop_reason": "end_turn"})
    config = {"seed": 1, "presencePenalty": 0.5, "frequencyPenalty": 0.5}
    body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "generationConfig": config}

    answer = await proxy.post("/../v1beta/models/up/m:generateContent", body)
    chat = await proxy.chat("up/m", "hi", seed=1)

    named = set(answer.headers["x-proxy-dropped"].split(", "))
    assert named == {f"generationConfig.{name}" for name in config}
    assert chat.headers["x-proxy-dropped"] == "seed"
