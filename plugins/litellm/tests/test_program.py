"""The real program: nothing waits for litellm's import, and its own logging tells no secret."""

import asyncio
import time

import httpx
import pytest

from proxy_core.testing import chunk, serving

KEY = "sk-" + "ours-and-nobody-elses-7f3a" * 2


@pytest.fixture
async def client():
    async with httpx.AsyncClient(timeout=60) as client:
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


async def test_the_first_use_keeps_nobody_waiting(tmp_path, upstream, client):
    upstream.replies()
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


async def test_litellms_debug_logging_tells_no_secret(tmp_path, upstream, client):
    echo = {"error": {"message": f"bad key {KEY}", "type": "invalid_request_error", "code": "invalid_api_key"}}
    debug = {"LITELLM_LOG": "DEBUG", "PROXY_DEBUG_LOG": "true", "PROXY_LOG__LEVEL": "debug", "DETAILED_DEBUG": "true"}
    replies = []
    async with serving(tmp_path, "--enable-request-logging", **settings(upstream), **debug) as program:
        upstream.replies()
        replies.append(await chat(client, program))
        upstream.queue.clear()
        upstream.says(chunk({"content": "hi"}), b'data: {"error": {"message": "no"}}\n\n')
        replies.append(await chat(client, program, stream=True))
        upstream.queue.clear()
        upstream.replies(401, echo)
        replies.append(await chat(client, program))
    written = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    assert [r.status_code for r in replies] == [200, 200, 503]
    assert upstream.last.key == KEY
    for place, text in [("console", program.output.encode()), *((r.url, r.content) for r in replies), *written.items()]:
        assert KEY.encode() not in text, place
        assert KEY[:20].encode() not in text, place
    assert b"quite private" not in program.output.encode()
