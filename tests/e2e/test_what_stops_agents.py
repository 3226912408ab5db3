"""An agent's user learns at once of what waiting does not cure, in every format, as agents were seen to read it."""

import pytest

from proxy_core.testing import chunk, cut

SAID = [{"role": "user", "content": "hi"}]
CONTENTS = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
GEMINI = "/../v1beta/models/up/m:"
REQUESTS = {
    "chat": ("/chat/completions", {"model": "up/m", "messages": SAID}),
    "messages": ("/messages", {"model": "up/m", "messages": SAID, "max_tokens": 10}),
    "responses": ("/responses", {"model": "up/m", "input": "hi"}),
    "gemini": (f"{GEMINI}generateContent", CONTENTS),
    "gemini, streamed": (f"{GEMINI}streamGenerateContent?alt=sse", CONTENTS),
}
#: A 403 with one of these is tried again by OpenCode.
TRIED_AGAIN = ("rate limit", "rate_limit", "too many requests", "429", "server_error", "terminated")


@pytest.fixture
async def proxy(make_proxy, upstream):
    providers = {"up": {"base_url": upstream.url, "api_keys": ["key-a"]}}
    return await make_proxy({"providers": providers, "routing": {"max_wait_s": 0}})


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [401, 402, 403])
@pytest.mark.parametrize(("path", "body"), REQUESTS.values(), ids=REQUESTS)
async def test_a_refused_credential_is_a_403_at_which_every_agent_stops(proxy, upstream, path, body, status, stream):
    upstream.responds(status, {"error": {"message": "Incorrect API key; rate limit 429", "code": "invalid_api_key"}})

    answer = await proxy.post(path, body if path.startswith(GEMINI) else {**body, "stream": stream})

    assert answer.status == 403
    assert "retry-after" not in answer.headers
    text = answer.json["error"]["message"].lower()
    assert not [word for word in TRIED_AGAIN if word in text]


@pytest.mark.parametrize("wait_s", [20, 299, 300, 301, 10_800])
@pytest.mark.parametrize("path", [path for path, _ in REQUESTS.values() if path.startswith(GEMINI)])
async def test_a_gemini_client_is_never_asked_to_wait_for_exactly_300_s(proxy, upstream, path, wait_s):
    upstream.responds(429, headers={"retry-after": str(wait_s)})

    error = (await proxy.post(path, CONTENTS)).json["error"]

    (delay,) = [detail["retryDelay"] for detail in error["details"] if "retryDelay" in detail]
    assert delay != "300s"
    assert -10 <= int(delay.removesuffix("s")) - wait_s <= 1
    assert (error["code"], error["status"]) == (429, "RESOURCE_EXHAUSTED")


@pytest.mark.parametrize(("wait_s", "should_retry"), [(20, None), (300, "false")])
@pytest.mark.parametrize(("path", "body"), REQUESTS.values(), ids=REQUESTS)
async def test_a_long_cooldown_is_one_that_sdks_do_not_sleep_through(proxy, upstream, path, body, wait_s, should_retry):
    upstream.responds(429, headers={"retry-after": str(wait_s)})

    answer = await proxy.post(path, body)

    assert answer.status == 429
    assert wait_s - 10 <= int(answer.headers["retry-after"]) <= wait_s
    assert answer.headers.get("x-should-retry") == should_retry


HOPELESS = {
    "a wrong key": (401, {"key": "wrong"}, {}),
    "an unknown model": (None, {}, {"model": "no/such"}),
    "an upstream's 404 for the model": (None, {"upstream": (404, "model not found")}, {}),
    "an upstream's 400": (400, {"upstream": (400, "No.")}, {}),
}


@pytest.mark.parametrize(("status", "how", "change"), HOPELESS.values(), ids=HOPELESS)
@pytest.mark.parametrize(("path", "body"), REQUESTS.values(), ids=REQUESTS)
async def test_what_cannot_succeed_is_not_tried_again_by_sdks(proxy, upstream, path, body, status, how, change):
    if "upstream" in how:
        upstream.responds(how["upstream"][0], {"error": {"message": how["upstream"][1]}})
    if "model" in change and path.startswith(GEMINI):
        path, change = path.replace("up/m", change["model"]), {}

    answer = await proxy.post(path, {**body, **change}, key=how.get("key"))

    assert answer.status == status or (status is None and answer.status in (400, 404))
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(("path", "body"), REQUESTS.values(), ids=REQUESTS)
async def test_what_may_succeed_in_a_moment_is_tried_again(proxy, upstream, path, body):
    upstream.responds(409, {"error": {"message": "Busy with the same conversation."}})

    answer = await proxy.post(path, body)

    assert answer.status == 409
    assert "x-should-retry" not in answer.headers


@pytest.mark.parametrize("path", ["/models/no/such", "/no/such", "/messages/count_tokens"])
@pytest.mark.parametrize("name", ["authorization", "x-goog-api-key", "x-api-key"])
async def test_a_wrong_key_is_final_at_every_address(proxy, path, name):
    headers = {name: "Bearer wrong" if name == "authorization" else "wrong", "anthropic-version": "2023-06-01"}
    answer = await proxy.client.post(proxy.url + path, headers=headers, json={"model": "up/m", "messages": SAID})

    assert answer.status_code in (401, 404, 405)
    assert answer.headers["x-should-retry"] == "false"


async def test_an_error_in_a_gemini_stream_is_bare_json(proxy, upstream):
    upstream.says(chunk({"content": "Once"}), cut())

    answer = await proxy.post(*REQUESTS["gemini, streamed"])

    events, _, last = answer.body.partition(b'{"error":{')
    assert events.startswith(b"data: ")
    assert events.endswith(b"\n\n")
    assert b"data:" not in last
