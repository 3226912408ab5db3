"""Numbers that JSON cannot express, and values nested too deeply: refused from clients, survived from upstreams."""

import json

import pytest

CHAT = {"model": "demo/m", "messages": [{"role": "user", "content": "x"}]}
GENERATE = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
ENDPOINTS = {
    "/chat/completions": CHAT,
    "/completions": {"model": "demo/m", "prompt": "x"},
    "/embeddings": {"model": "demo/m", "input": "x"},
    "/../v1beta/models/demo/m:generateContent": GENERATE,
    "/../v1beta/models/demo/m:countTokens": GENERATE,
    "/../v1beta/models/demo/m:embedContent": {"content": {"parts": [{"text": "x"}]}},
    "/token-count": CHAT,
    "/cost-estimate": {"model": "demo/m", "prompt_tokens": 1},
}
DEEP = {"lists": "[" * 900 + "]" * 900, "objects": '{"a":' * 900 + "1" + "}" * 900, "deeper": "[" * 100_000}
NUMBERS = {name: name for name in ("1e400", "-1e400", "NaN", "-Infinity", "Infinity")}


@pytest.mark.parametrize(("value", "words"), [("NaN", "NaN, which JSON does not have"), ("1e400", "too large")])
async def test_the_error_says_which_kind_of_number_it_was(proxy, value, words):
    text = json.dumps({**CHAT, "temperature": "@"}).replace('"@"', value)

    assert words in (await proxy.post("/chat/completions", text.encode())).error["message"]


@pytest.mark.parametrize("value", (DEEP | NUMBERS).values(), ids=DEEP | NUMBERS)
@pytest.mark.parametrize(("path", "body"), ENDPOINTS.items())
async def test_a_client_gets_a_400_wherever_they_are(proxy, upstream, path, body, value):
    for place in ("unknown", "model", "messages", "contents", "prompt", "input", "temperature", "tools", "metadata"):
        text = json.dumps({**body, place: "@"}).replace('"@"', value)

        assert (await proxy.post(path, text.encode())).status == 400, place

    assert upstream.requests == []


@pytest.mark.parametrize("value", (DEEP | NUMBERS).values(), ids=DEEP | NUMBERS)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("path", ["/chat/completions", "/../v1beta/models/demo/m:generateContent"])
async def test_in_a_response_they_are_never_a_500_and_a_translated_one_is_valid(proxy, upstream, path, stream, value):
    choice = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop", "logprobs": "@"}
    choice["delta"] = choice["message"]
    answer = json.dumps({"id": "x", "object": "y", "choices": [choice], "extra": "@"}).replace('"@"', value).encode()
    if stream:
        upstream.says(b"data: " + answer + b"\n\ndata: [DONE]\n\n", headers={"content-type": "text/event-stream"})
    else:
        upstream.responds(body=answer, headers={"content-type": "application/json"})
    translated = "v1beta" in path
    body = GENERATE if translated else {**CHAT, "stream": stream}
    if stream:
        path = path.replace(":generateContent", ":streamGenerateContent?alt=sse")

    got = await proxy.post(path, body)

    assert got.status == 200 if value in NUMBERS.values() else got.status in (200, 502)
    if translated and got.status == 200:
        for part in got.events or [got.json]:
            json.loads(json.dumps(part), parse_constant=pytest.fail)
