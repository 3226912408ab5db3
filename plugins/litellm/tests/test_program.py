"""The real program: nothing waits for litellm's import, and litellm's own logging reveals no secret."""

import asyncio
import json
import time

import httpx
import pytest
from canary import STORIES, Canaries, Story

from proxy_core.testing import serving

pytestmark = pytest.mark.slow

KEY = "sk-" + "ours-and-nobody-elses-7f3a" * 2


@pytest.fixture
async def client():
    async with httpx.AsyncClient(timeout=300) as client:
        yield client


def settings(upstream):
    return {
        "PROXY_API_KEY": "client",
        "PROXY_PLUGINS__LITELLM__PROVIDERS": f'{{"compat": {{"provider": "openai", "api_base": "{upstream.url}"}}}}',
        "LITELLM_COMPAT_API_KEY": KEY,
    }


def chat(client, program, **fields):
    body = {"model": "litellm/compat/small", "messages": [{"role": "user", "content": "quite private"}], **fields}
    return client.post(program.url + "/v1/chat/completions", json=body, headers={"authorization": "Bearer client"})


async def test_the_first_use_delays_no_other_request(tmp_path, upstream, client):
    upstream.responds()
    async with serving(tmp_path, **settings(upstream)) as program:
        first, longest = asyncio.create_task(chat(client, program)), 0.0
        began = time.monotonic()
        while not first.done():
            asked = time.monotonic()
            assert (await client.get(program.url + "/healthz")).status_code == 200
            longest = max(longest, time.monotonic() - asked)
            await asyncio.sleep(0.01)
        took = time.monotonic() - began

    assert first.result().status_code == 200
    assert took > 0.5, "the import is what this is about"
    assert longest < max(0.5, took / 5)


#: Of the canary test's stories: responses, refusals, and streams that end in every way.
TOLD = ("plain", "streamed", "split-over-chunks", "upstream-401", "upstream-429", "upstream-500", "error-after-events")
CUT = ("cut-stream", "stalled-stream", "unreadable-reply", "reset-connection", "embeddings")


async def test_the_canary_test_holds_with_litellms_debug_logging_on(tmp_path, upstream, client):
    ours, stories = Canaries("ours"), []
    tables = {}
    for name in (*TOLD, *CUT):
        story = Story(name, Canaries(name), ours.openai(), ours.jwt(), None)
        story.upstream = upstream.for_key(story.credential)
        stories.append(story)
        tables[name] = {"provider": "openai", "api_base": upstream.url, "organization_token": story.header}
    environ = {
        "PROXY_API_KEY": ours.openai(),
        "PROXY_PLUGINS__LITELLM__PROVIDERS": json.dumps(tables),
        **{f"LITELLM_{s.name.upper().replace('-', '_')}_API_KEY": s.credential for s in stories},
        **{"LITELLM_LOG": "DEBUG", "DETAILED_DEBUG": "true", "PROXY_DEBUG_LOG": "true", "PROXY_LOG__LEVEL": "debug"},
        **{
            "PROXY_TIMEOUTS__IDLE_S": "1",
            "PROXY_ROUTING__MAX_WAIT_S": "1",
            "PROXY_ROUTING__ATTEMPTS_PER_CREDENTIAL": "1",
        },
    }

    async def tell(story):
        sent = STORIES[story.name](story)
        sent.body["model"] = f"litellm/{story.name}/small"
        headers = {**sent.headers, "authorization": f"Bearer {environ['PROXY_API_KEY']}"}
        return await client.post(program.url + sent.path, json=sent.body, headers=headers)

    async with serving(tmp_path, "--enable-request-logging", **environ) as program:
        responses = dict(zip(TOLD + CUT, await asyncio.gather(*map(tell, stories)), strict=True))
        await asyncio.sleep(0.5)  # records are written a moment later

    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".key")
    written += program.output.encode()
    every = [needle for owner in (ours, *(s.own for s in stories)) for needle in owner.needles]
    assert [needle for needle in every if needle in written] == []
    for name, response in responses.items():
        others = [n for owner in (ours, *(s.own for s in stories if s.name != name)) for n in owner.needles]
        answered = response.content + repr(response.headers).encode()
        assert [needle for needle in others if needle in answered] == [], name
    assert {request.key for request in upstream.requests} >= {story.credential for story in stories}
    assert (
        responses["plain"].status_code
        == responses["streamed"].status_code
        == responses["embeddings"].status_code
        == 200
    )
    assert b"litellm" in written
