"""A new user's steps, with the real program: log in, send a request, restart, refresh, show quotas, log out."""

import asyncio
import json
import re
from urllib.parse import parse_qs, urlsplit

import httpx
import openai
import pytest

from proxy_core.testing import run, serving
from proxy_core.testing.program import start
from proxy_plugin_gemini_cli.oauth import NOTICE
from proxy_plugin_gemini_cli.testing import PROJECT, FakeGoogle

KEY = "client-key-0123456789"


@pytest.fixture
async def google():
    # Shorter than the refresh margin, so that the token is due at every start.
    async with FakeGoogle(life_s=200) as running:
        yield running


@pytest.fixture
def variables(google):
    named = {f"PROXY_PLUGINS__GEMINI_CLI__{name.upper()}": str(value) for name, value in google.settings.items()}
    return {**named, "SSH_CONNECTION": "1 2 3 4", "PROXY_API_KEY": KEY}


async def log_in(home, variables):
    """``proxy-core login`` over SSH: opens the printed address as a browser would, and pastes what its page shows."""
    process = await start(home, "login", "gemini_cli", "--yes", **variables)
    output = ""
    async with asyncio.timeout(20):
        while "Paste the code" not in output:
            piece = await process.stdout.read(4096)
            assert piece, output
            output += piece.decode()
        address = re.search(r"http://\S+/authorize\?\S+", output)[0]
        async with httpx.AsyncClient(trust_env=False) as browser:
            page = await browser.get(address)
        (code,) = parse_qs(urlsplit(page.headers["location"]).query)["code"]
        process.stdin.write(code.encode() + b"\n")
        process.stdin.close()
        rest = await process.stdout.read()
        return await process.wait(), output + rest.decode()


async def ask(program):
    async with openai.AsyncOpenAI(base_url=f"{program.url}/v1", api_key=KEY, max_retries=0) as client:
        messages = [{"role": "user", "content": "hi"}]
        response = await client.chat.completions.create(model="gemini_cli/gemini-2.5-pro", messages=messages)
    return response.choices[0].message.content


async def test_a_new_users_steps(google, variables, tmp_path):
    code, output = await log_in(tmp_path, variables)
    assert code == 0, output
    assert NOTICE in output and output.index(NOTICE) < output.index("Open this URL")
    assert f"Tier: standard-tier. Project: {PROJECT}." in output

    for renewals in (1, 2):
        async with serving(tmp_path, **variables) as program:
            assert await ask(program) == "hello"
            _, usage = await run(tmp_path, "usage", **variables)
        assert len(google.accepted) == renewals

    # The quota that Google reported, plus the requests since then.
    assert re.search(r"gemini_cli +\w+ +\S+ +pro +standard-tier +\d+ +1500 ", usage), usage
    _, later = await run(tmp_path, "usage", **variables)
    assert re.search(r"gemini_cli +gemini-2.5-pro +2 ", later) and "resets" not in later

    code, output = await run(tmp_path, "credentials", "remove", "gemini_cli", "dev@example.com", "--yes", **variables)
    assert code == 0, output
    _, listed = await run(tmp_path, "credentials", "list", "gemini_cli", "--json", **variables)
    assert json.loads(listed) == []
