"""Content that only one format has is refused by name: it may stand for the whole conversation before it."""

import pytest

MODELS = {
    "openai_chat": "up/m",
    "openai_responses": "responses/m",
    "anthropic_messages": "anthropic/m",
    "gemini": "gemini/m",
}


def responses_item(kind):
    item = {"type": kind, "id": "x_1", "encrypted_content": "XX"}
    said = [{"role": "user", "content": "keep"}, item, {"role": "user", "content": "more"}]
    return "openai_responses", kind, "/responses", {"input": said}


def anthropic_block(role):
    block = {"type": "future_block", "data": "XX"}
    said = [{"role": "user", "content": "keep"}, {"role": "assistant", "content": "yes"}]
    said[["user", "assistant"].index(role)]["content"] = [{"type": "text", "text": "a"}, block]
    more = {"role": "user", "content": "more"}
    return "anthropic_messages", "future_block", "/messages", {"messages": [*said, more], "max_tokens": 9}


def chat_audio():
    said = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": None, "audio": {"id": "audio_1"}}]
    return "openai_chat", "audio", "/chat/completions", {"messages": [*said, {"role": "user", "content": "more"}]}


CONTENT = {
    "audio that OpenAI keeps": chat_audio(),
    "compaction": responses_item("compaction"),
    "unknown item": responses_item("future_item"),
    "unknown block of the user": anthropic_block("user"),
    "unknown block of the model": anthropic_block("assistant"),
}


@pytest.fixture
async def proxy(make_proxy, upstream):
    """With a provider of each format."""
    at = {"base_url": upstream.url, "api_keys": ["key-a"]}
    responses = {**at, "dialects": ["openai_responses"]}
    return await make_proxy({"providers": {"up": at, "responses": responses, "anthropic": at, "gemini": at}})


@pytest.mark.parametrize("content", CONTENT)
async def test_it_is_refused_by_every_other_format(proxy, upstream, content):
    client, kind, path, body = CONTENT[content]
    for model in (model for dialect, model in MODELS.items() if dialect != client):
        answer = await proxy.post(path, {"model": model, **body})

        assert (answer.status, f"'{kind}'" in answer.json["error"]["message"]) == (400, True), (model, answer.body)
    assert [seen for seen in upstream.requests if not seen.path.endswith("/models")] == []


@pytest.mark.parametrize("model", [model for dialect, model in MODELS.items() if dialect != "openai_responses"])
async def test_an_image_that_the_model_made_before_is_told_as_left_out(proxy, upstream, model):
    made = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "iVBORw0KGgo="}
    said = [{"role": "user", "content": "draw"}, made, {"role": "user", "content": "more"}]
    without = await proxy.post("/responses", {"model": model, "input": [said[0], {**made, "result": None}, said[2]]})
    answer = await proxy.post("/responses", {"model": model, "input": said})

    assert "input[].result" in answer.headers["x-proxy-dropped"]
    assert "input[].result" not in without.headers.get("x-proxy-dropped", "")
    assert b"iVBORw" not in upstream.last.body
