"""What users of the official clients see when an upstream refuses, wants money or sets limits.

The clients retry as they do by default; ``posts`` counts what they sent to the proxy.
"""

import httpx
import openai
import pytest
from google import genai
from google.genai import errors, types

HI = [{"role": "user", "content": "hi"}]
DAILY = {"error": {"message": "Limit on tokens per day reached. Please try again in 2h.", "type": "tokens"}}
SOON = {"error": {"message": "Slow down, please.", "type": "requests"}}
# google-genai subclasses aiohttp's session, which aiohttp discourages: not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")

#: The upstream's answer; what the client raises, its status, code and Retry-After, and a piece of its message.
CASES = {
    "a refused key": (
        (401, {"error": {"message": "Incorrect API key"}}, {}),
        (openai.PermissionDeniedError, 403, "upstream_credential_refused", None, "up rejected"),
    ),
    "an unpaid account": (
        (402, {"error": {"message": "Pay first"}}, {}),
        (openai.PermissionDeniedError, 403, "insufficient_quota", None, "up reports that no credit"),
    ),
    "an unpaid account that is called a limit": (
        (429, {"error": {"message": "x", "code": "insufficient_quota"}}, {}),
        (openai.PermissionDeniedError, 403, "insufficient_quota", None, "up reports that no credit"),
    ),
    "a daily limit": (
        (429, DAILY, {"retry-after": "7200"}),
        (openai.RateLimitError, 429, "rate_limit_exceeded", 7200, DAILY["error"]["message"]),
    ),
    "a daily limit in words": (
        (429, DAILY, {}),
        (openai.RateLimitError, 429, "rate_limit_exceeded", 7200, DAILY["error"]["message"]),
    ),
}
EACH = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


async def chat(client):
    return await client.chat.completions.create(model="up/m", messages=HI)


async def stream(client):
    return [chunk async for chunk in await client.chat.completions.create(model="up/m", messages=HI, stream=True)]


async def completions(client):
    return await client.completions.create(model="up/m", prompt="hi")


async def embeddings(client):
    return await client.embeddings.create(model="up/m", input="hi")


CALLS = [chat, stream, completions, embeddings]


@pytest.fixture
async def up(make_proxy, upstream):
    """The proxy with one provider, ``up``, that has one key."""
    return await make_proxy({"providers": {"up": {"base_url": upstream.url, "api_keys": ["k1"]}}})


@pytest.fixture
async def client(up):
    posts = []

    async def note(request):
        posts.append(request)

    http = httpx.AsyncClient(verify=False, event_hooks={"request": [note]})
    async with openai.AsyncOpenAI(base_url=up.url, api_key=up.key, http_client=http) as made:
        made.posts = posts
        yield made


@EACH
@pytest.mark.parametrize("call", CALLS)
async def test_the_second_call_is_told_what_the_first_was(client, upstream, case, call):
    (status, body, headers), (kind, told, code, retry_after, words) = case
    upstream.responds(status, body, headers=headers)

    for _ in range(2):
        with pytest.raises(kind) as raised:
            await call(client)

        error = raised.value
        assert (error.status_code, error.code) == (told, code)
        assert words in error.message
        sent = error.response.headers.get("retry-after")
        assert sent is None if retry_after is None else retry_after - 2 <= int(sent) <= retry_after
    assert len(upstream.requests) == 1
    assert len(client.posts) == 2, "it does not ask again where that cannot help"


@pytest.mark.slow
async def test_a_short_limit_that_never_ends_costs_a_few_requests(client, upstream):
    upstream.responds(429, SOON, headers={"retry-after": "2"})

    with pytest.raises(openai.RateLimitError, match="Slow down, please") as raised:
        await chat(client)

    assert raised.value.code == "rate_limit_exceeded"
    assert (len(client.posts), len(upstream.requests)) == (3, 6), "a few, not dozens"


async def test_a_client_with_little_time_is_told_of_the_limit_and_not_of_the_time(client, upstream):
    upstream.responds(429, SOON, headers={"retry-after": "8"})

    with pytest.raises(openai.RateLimitError, match="Slow down, please"):
        await client.with_options(timeout=5, max_retries=0).chat.completions.create(model="up/m", messages=HI)

    assert len(upstream.requests) == 1


GOOGLES = {
    "a refused key": ((401, {"error": {"message": "no"}}, {}), (403, "PERMISSION_DENIED", None, "up rejected")),
    "an unpaid account": ((402, {"error": {"message": "no"}}, {}), (403, "PERMISSION_DENIED", None, "no credit")),
    "a daily limit": ((429, DAILY, {"retry-after": "7200"}), (429, "RESOURCE_EXHAUSTED", 7200, "try again in 2h")),
}


@pytest.mark.parametrize("case", GOOGLES.values(), ids=GOOGLES)
@pytest.mark.parametrize("streaming", [True, False], ids=["stream", "plain"])
async def test_googles_client_is_told_the_same_each_time(up, upstream, case, streaming):
    (status, body, headers), (told, word, retry_s, words) = case
    upstream.responds(status, body, headers=headers)
    options = types.HttpOptions(base_url=up.url.removesuffix("/v1"))
    client = genai.Client(api_key=up.key, http_options=options).aio

    for _ in range(2):
        with pytest.raises(errors.ClientError) as raised:
            if streaming:
                async for _ in await client.models.generate_content_stream(model="up/m", contents="hi"):
                    pass
            else:
                await client.models.generate_content(model="up/m", contents="hi")

        error = raised.value
        assert (error.code, error.status) == (told, word)
        assert words in error.message
        delays = [d["retryDelay"] for d in error.details["error"]["details"] if "retryDelay" in d]
        assert len(delays) == (retry_s is not None)
        assert all(retry_s - 2 <= int(delay.removesuffix("s")) <= retry_s for delay in delays)
    await client.aclose()
    assert len(upstream.requests) == 1
