"""What clients choose to name is limited, folded together, and never kept if it is a secret."""

import gc
import tracemalloc
from datetime import UTC, datetime

import pytest

from proxy_core.testing.proxy import CLIENT_KEY

CHAT = {"messages": [{"role": "user", "content": "x"}]}
GENERATE = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
EMBED = {"content": {"parts": [{"text": "x"}]}}
#: Every address that takes a model: its path and body, given the name of a model.
ENTRIES = {
    "chat": lambda model: ("/chat/completions", {"model": model, **CHAT}),
    "chat, streamed": lambda model: ("/chat/completions", {"model": model, "stream": True, **CHAT}),
    "completions": lambda model: ("/completions", {"model": model, "prompt": "x"}),
    "embeddings": lambda model: ("/embeddings", {"model": model, "input": "x"}),
    "token count": lambda model: ("/token-count", {"model": model, **CHAT}),
    "cost estimate": lambda model: ("/cost-estimate", {"model": model, "prompt_tokens": 1}),
    "gemini": lambda model: (f"/../v1beta/models/{model}:generateContent", GENERATE),
    "gemini, streamed": lambda model: (f"/../v1beta/models/{model}:streamGenerateContent", GENERATE),
    "gemini, counted": lambda model: (f"/../v1beta/models/{model}:countTokens", GENERATE),
    "gemini, embedded": lambda model: (f"/../v1beta/models/{model}:embedContent", EMBED),
    "gemini, embedded together": lambda model: (f"/../v1beta/models/{model}:batchEmbedContents", {"requests": [EMBED]}),
    "gemini, its other version": lambda model: (f"/../v1/models/{model}:generateContent", GENERATE),
    "gemini, without a version": lambda model: (f"/../models/{model}:streamGenerateContent", GENERATE),
    "chat, without a version": lambda model: ("/../chat/completions", {"model": model, **CHAT}),
    "completions, without a version": lambda model: ("/../completions", {"model": model, "prompt": "x"}),
    "embeddings, without a version": lambda model: ("/../embeddings", {"model": model, "input": ["x", "y"]}),
    "a model in each input": lambda model: (
        "/../v1beta/models/demo/m:batchEmbedContents",
        {"requests": [{"model": f"models/{model}", **EMBED}]},
    ),
}
#: Where names can only be asked about.
ASKED = ("/models/{}", "/../models/{}", "/../v1beta/models/{}")
KEY = "sk-a-credential-of-the-upstream"


@pytest.fixture
async def open_proxy(make_proxy, upstream):
    """Its upstream answers to any model that it is asked for, unless told otherwise."""
    provider = {"base_url": upstream.url, "api_keys": [KEY]}
    return await make_proxy({"providers": {"demo": provider}, "admin": {"key": "the-admin-key"}})


async def kept(proxy):
    """Everything that was kept of the requests so far, as text."""
    today = datetime.now(UTC).date()
    metrics = await proxy.get("/../metrics", key="the-admin-key")
    status = await proxy.get("/../admin/status", key="the-admin-key")
    rows = [*proxy.process.usage.take(), *await proxy.process.state.rows(today, today)]
    return metrics.body.decode() + status.body.decode() + repr(rows)


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
async def test_a_long_name_is_refused_wherever_it_enters_and_kept_nowhere(open_proxy, upstream, entry, caplog):
    path, body = entry("demo/" + "n4me" * 5000)

    answer = await open_proxy.post(path, body)

    assert answer.status in (400, 404, 414)
    assert len(answer.body) < 2000
    assert upstream.requests == []
    assert "n4men4me" not in await kept(open_proxy) + caplog.text


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
@pytest.mark.parametrize("secret", [CLIENT_KEY, KEY], ids=["client's", "upstream's"])
async def test_a_secret_as_a_model_is_refused_and_kept_nowhere(open_proxy, upstream, entry, secret, caplog):
    for model in (f"demo/{secret}", f"demo/x-{secret}-y", secret):
        path, body = entry(model)

        answer = await open_proxy.post(path, body)

        estimated = any(word in path for word in ("count", "cost"))  # which needs no upstream, and keeps nothing
        assert answer.status in (400, 404) or estimated
        assert secret.encode() not in answer.body
    assert [request for request in upstream.requests if request.method == "POST"] == []
    assert secret not in await kept(open_proxy) + caplog.text


@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize(
    "model", ["demo/" + "n4me" * 5000, f"demo/{KEY}", CLIENT_KEY], ids=["long", "upstream's", "client's"]
)
async def test_to_ask_for_a_model_leaves_nothing_of_its_name(open_proxy, path, model, caplog):
    answer = await open_proxy.get(path.format(model))

    assert answer.status in (400, 404, 414)
    assert len(answer.body) < 2000
    assert KEY.encode() not in answer.body and CLIENT_KEY.encode() not in answer.body
    for text in ("n4men4me", KEY, CLIENT_KEY):
        assert text not in await kept(open_proxy) + caplog.text


#: Where else a client may put a text of its own: requests, given the text.
TEXTS = {
    "user": lambda text: ("/chat/completions", {"model": "demo/m", "user": text, **CHAT}),
    "a field": lambda text: ("/chat/completions", {"model": "demo/m", text: 1, **CHAT}),
    "metadata": lambda text: ("/chat/completions", {"model": "demo/m", "metadata": {text: text}, **CHAT}),
    "a session": lambda text: ("/chat/completions", {"model": "demo/m", "session_id": text, **CHAT}),
    "a tool": lambda text: ("/chat/completions", {"model": "gemini/m", "tools": [tool(text, {})], **CHAT}),
    "a property": lambda text: ("/chat/completions", {"model": "gemini/m", "tools": [tool("f", {text: {}})], **CHAT}),
    "a format": lambda text: (
        "/chat/completions",
        {
            "model": "gemini/m",
            "messages": [
                {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "", "format": text}}]}
            ],
        },
    ),
    "a role": lambda text: ("/chat/completions", {"model": "gemini/m", "messages": [{"role": text, "content": "x"}]}),
    "a field of Gemini's": lambda text: ("/../v1beta/models/gemini/m:generateContent", {**GENERATE, text: 1}),
    "an option of Gemini's": lambda text: (
        "/../v1beta/models/gemini/m:generateContent",
        {**GENERATE, "generationConfig": {text: 1}},
    ),
    "a field of Gemini's, translated": lambda text: (
        "/../v1beta/models/demo/m:generateContent",
        {"contents": [{"role": "user", "parts": [{"text": "x", text: {}}]}], "generationConfig": {text: 1}},
    ),
    "a function of Gemini's": lambda text: (
        "/../v1beta/models/demo/m:generateContent",
        {**GENERATE, "tools": [{"functionDeclarations": [{"name": text, "parameters": {"properties": {text: {}}}}]}]},
    ),
    "a type of Gemini's": lambda text: (
        "/../v1beta/models/demo/m:generateContent",
        {"contents": [{"role": "user", "parts": [{"inlineData": {"mimeType": text, "data": ""}}]}]},
    ),
}


def tool(name, properties):
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": properties}}}


@pytest.mark.slow
@pytest.mark.parametrize("entry", TEXTS.values(), ids=TEXTS)
async def test_no_cache_keeps_the_texts_of_clients(make_proxy, upstream, entry):
    upstream.for_path("/models/m:generateContent").responds(
        json_body={"candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"}]}
    )
    names = {name: {"base_url": upstream.url, "api_keys": [KEY]} for name in ("demo", "gemini")}
    proxy = await make_proxy({"providers": names, "plugins": {"allowed": ["openai_compat", "gemini"]}})

    async def ask(numbers):
        for number in numbers:
            await proxy.post(*entry(f"{number:09}" * 20_000))
        upstream.requests.clear()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        warm = await ask(range(8))
        grown = await ask(range(8, 32)) - warm  # of 4.3 MB
    finally:
        tracemalloc.stop()

    assert grown < 500_000


@pytest.mark.parametrize("status", [400, 403, 404, 422])
async def test_names_that_the_upstream_does_not_know_are_counted_together(open_proxy, upstream, status):
    upstream.responds(status, json_body={"error": {"message": "model not found", "code": "model_not_found"}})

    for n in range(30):
        await open_proxy.chat(f"demo/made-up-{n}", "hi")

    text = "".join(line for line in (await kept(open_proxy)).splitlines() if "proxy_core_" in line)
    rows = [*open_proxy.process.usage.take()]
    assert "made-up" not in text
    assert not [row for row in rows if row.model.startswith("made-up")]
