"""A large request or response keeps no other one waiting."""

import asyncio
import json
import shutil
import sys
import time
from pathlib import Path

import httpx
import pytest

from proxy_core.testing.program import SCRIPT, serving

SIZE = 20_000_000
CODE = 'def function(self, value: "str") -> None:\n    return self.other(value)\n'
CONTENTS = {
    "base64": [{"type": "image_url", "image_url": {"url": "data:image/png;base64," + "QUJD" * (SIZE // 4)}}],
    "code": CODE * (SIZE // len(CODE)),
    "umlauts": "Das wäre schön für alle. " * (SIZE // 28),
}
LARGE = {
    **{name: [{"role": "user", "content": content}] for name, content in CONTENTS.items()},
    "many messages": [{"role": "user", "content": CODE * 14}] * (SIZE // 1000),
}


@pytest.fixture
async def program(tmp_path):
    upstream = await asyncio.create_subprocess_exec(
        sys.executable, Path(__file__).with_name("upstream_process.py"), stdout=asyncio.subprocess.PIPE
    )
    try:
        url = (await upstream.stdout.readline()).decode().strip()
        variables = {"LOCAL_API_BASE": url, "LOCAL_API_KEY": "a-key-that-is-long-enough", "PROXY_API_KEY": "k"}
        async with serving(tmp_path, "--demo", command=SCRIPT, **variables) as running:
            yield running
    finally:
        upstream.kill()
        await upstream.wait()


async def others(client, url, stop, waits):
    """Small requests, one after the other."""
    body = {"model": "demo/small", "messages": [{"role": "user", "content": "hi"}]}
    while not stop.is_set():
        began = time.perf_counter()
        answer = await client.post(url, json=body)
        waits.append(time.perf_counter() - began)
        assert answer.status_code == 200
        await asyncio.sleep(0.002)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("name", LARGE)
async def test_a_large_request_delays_others_by_little(program, name):
    content = json.dumps({"model": "local/m", "messages": LARGE[name]}, ensure_ascii=False).encode()
    url = f"{program.url}/v1/chat/completions"
    headers = {"authorization": "Bearer k", "content-type": "application/json"}
    async with httpx.AsyncClient(headers=headers, timeout=60) as client:
        # Relative to the quiet time, as the machine may be busy with something else, and again if it just became so.
        measured = []
        for _ in range(3):
            before = await waits_during(client, url, asyncio.sleep(2))
            during = await waits_during(client, url, posted(url, content))
            measured.append([(at(waits, 0.9), at(waits, 0.97)) for waits in (before, during)])
            (usual, longer), (most, nearly_all) = measured[-1]
            if most < 2 * usual + 0.02 and nearly_all < 2 * longer + 0.1:
                return
    pytest.fail(f"waits before and during: {measured}")


def at(waits, share):
    return waits[int(len(waits) * share)]


async def waits_during(client, url, work):
    """How long small requests waited meanwhile, the longest last."""
    stop, waits = asyncio.Event(), []
    small = asyncio.create_task(others(client, url, stop, waits))
    await work
    stop.set()
    await small
    return sorted(waits)


async def posted(url, content):
    """By another process, so that this one measures nothing of its own."""
    process = await asyncio.create_subprocess_exec(
        *("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", "authorization: Bearer k"),
        *("-H", "content-type: application/json", "--data-binary", "@-", url),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate(content)
    assert out == b"200"
