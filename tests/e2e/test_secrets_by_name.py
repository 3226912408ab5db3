"""Secrets that are not where they are expected: in headers of any name, in URL encoding, too short to be recognized."""

import asyncio
import json
from urllib.parse import quote

import pytest

from proxy_core import LogSink, Redactor
from proxy_core.runtime.start import start
from proxy_core.settings.loading import load
from proxy_core.testing import plugin_with

HEADERS = """
x-api-key-2 openai-api-key-backup x-auth authorization-extra x-secret X-Goog-Api-Key-Old proxy-authorization x-token
x-auth-token private-token api_key apikey x-amz-security-token ocp-apim-subscription-key x-client-secret x-password
cookie2 x-credentials x-access-key
""".split()


@pytest.mark.parametrize("name", HEADERS)
async def test_a_header_named_like_a_key_is_in_no_record(make_proxy, upstream, name):
    written = asyncio.Queue()

    async def write(lines):
        for line in lines:
            written.put_nowait(line)

    keeps = plugin_with(
        proxy_redactors=[Redactor(name="keeps", redact=lambda record: record)],
        proxy_log_sinks=[LogSink(name="queue", write=write)],
    )
    provider = {"base_url": upstream.url, "api_keys": ["key-a"]}
    proxy = await make_proxy({"providers": {"demo": provider}, "records": {"enabled": True}}, modules=[keeps])
    body = {"model": "demo/small", "messages": [{"role": "user", "content": "hi"}]}
    sent = {name: "v4lue-of-the-header", "x-ratelimit-limit-tokens": "77", "x-plain": "shown"}

    await proxy.post("/chat/completions", body, headers=sent)

    text = await asyncio.wait_for(written.get(), 10)
    headers = json.loads(text)["request"]["headers"]
    assert b"v4lue" not in text
    assert headers["x-plain"] == "shown"
    assert headers["x-ratelimit-limit-tokens"] == "77"


KEY = "sk/with+special=characters&more"
ENCODINGS = {
    "as it is": KEY,
    "url": quote(KEY, safe=""),
    "url, lower case": quote(KEY, safe="")
    .replace("%2F", "%2f")
    .replace("%2B", "%2b")
    .replace("%3D", "%3d")
    .replace("%26", "%26"),
    "json": KEY.replace("/", "\\/"),
}


@pytest.mark.parametrize("spelling", ENCODINGS.values(), ids=ENCODINGS)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_a_key_that_an_upstream_repeats_is_removed_in_any_encoding(make_proxy, upstream, spelling, stream):
    proxy = await make_proxy({"providers": {"demo": {"base_url": upstream.url, "api_keys": [KEY]}}})
    answer = b'{"choices":[{"index":0,"message":{"content":"%b"},"delta":{"content":"%b"}}]}' % (
        (spelling.encode(),) * 2
    )
    if stream:
        upstream.says(b"data: " + answer + b"\n\ndata: [DONE]\n\n", headers={"content-type": "text/event-stream"})
    else:
        upstream.responds(body=answer, headers={"content-type": "application/json"})

    got = await proxy.chat("demo/small", "hi", stream=stream)

    assert got.status == 200
    assert spelling.encode() not in got.body
    assert b"[redacted]" in got.body


def test_the_start_warns_of_keys_that_are_too_short_and_does_not_show_them(tmp_path):
    environ = {
        "PROXY_DATA_DIR": str(tmp_path),
        "PROXY_API_KEY": "sh0rt",
        "OPENAI_API_KEY": "k3y",
        "GROQ_API_KEY": "l" * 16,
    }

    warnings = start(load(environ=environ, cwd=tmp_path), to_run=False).current.warnings

    found = [line for line in warnings if "fewer than 16 characters" in line]
    assert sorted(line.partition(" ")[0] for line in found) == ["clients.default.key", "providers.openai.api_keys[0]"]
    assert all(line.endswith("is not removed from responses nor from the log") for line in found)
    assert not any("sh0rt" in line or "k3y" in line for line in warnings)
