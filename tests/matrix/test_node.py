"""Each vendor's Node client on every upstream, as ``test_matrix.py`` has it for Python.

They run where ``PROXY_CORE_AGENTS`` names the folder of their executables: tests/agents/README.md.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path

import pytest
from tests.agents.programs import FOLDERS
from tests.matrix.model import (
    ANSWER,
    BREAK,
    HELLO,
    LOOK,
    PARAMETERS,
    PIXEL,
    REFUSE,
    RESULTS,
    SHAPE,
    TOOL,
    TOOLS,
    WAIT,
    decide,
)
from tests.matrix.upstreams import BROKEN, REFUSAL, UPSTREAMS

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
CLIENTS = {
    "openai-chat": "openai",
    "openai-responses": "openai",
    "anthropic": "@anthropic-ai/sdk",
    "google-genai": "@google/genai",
}
TASK = {
    "prompts": {
        "hello": HELLO,
        "tools": TOOL,
        "look": LOOK,
        "shape": SHAPE,
        "refuse": REFUSE,
        "break": BREAK,
        "wait": WAIT,
    },
    "tools": [{"name": name, "description": about, "parameters": PARAMETERS} for name, about in TOOLS.items()],
    "results": RESULTS,
    "pixel": PIXEL,
    "answer": ANSWER,
}


def _modules(package):
    """The folder of packages that has this one."""
    parents = (Path(folder).parent for folder in FOLDERS)
    return next((parent for parent in parents if (parent / package / "package.json").exists()), None)


@pytest.mark.parametrize("upstream", UPSTREAMS)
@pytest.mark.parametrize("client", CLIENTS)
async def test_a_node_client_can_do_everything_on_any_upstream(client, upstream, make_proxy):
    modules = _modules(CLIENTS[client])
    if modules is None or shutil.which("node") is None:
        pytest.skip(f"needs node, and the package {CLIENTS[client]} in PROXY_CORE_AGENTS")
    async with UPSTREAMS[upstream](decide) as server:
        if (client, upstream) == ("google-genai", "gemini"):
            server.checks = False  # relayed as it is: members of schemas that Google accepts
        proxy = await make_proxy({"providers": server.providers, "models": {"claude-gpt": server.model}})
        task = {**TASK, "url": proxy.url.removesuffix("/v1"), "key": proxy.key, "model": "claude-gpt"}
        node = await asyncio.create_subprocess_exec(
            "node",
            str(HERE / "node/run.mjs"),
            client,
            str(modules),
            json.dumps(task),
            env={"PATH": os.environ["PATH"], "HTTPS_PROXY": "http://127.0.0.1:9"},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(60):
                found = json.loads(await node.stdout.readline())
                (asked,) = (request for request in server.requests if WAIT.encode() in request.body)
                await asked.left.wait()  # while the client is still there
        finally:
            node.stdin.close()
            await node.wait()
            await node.stdout.read()

    refused, broken = found.pop("refused"), found.pop("broken")
    assert "".join(found.pop("stream")["pieces"]) == "hello"
    assert found == {
        "plain": "hello",
        "tools": {
            "asked": [
                [{"name": "weather", "city": "Oslo"}, {"name": "clock", "city": "Bergen"}],
                [{"name": "weather", "city": "Tromso"}],
            ],
            "text": "all known",
        },
        "look": "an image",
        "shape": {"favourite_colour": "blue"},
        "left": "hel",
    }
    assert (refused["status"], REFUSAL in refused["message"]) == (400, True)
    assert broken["pieces"] == ["hel"]
    # Google's client hides an error that it reads together with the text before it.
    assert any(words in broken["message"] for words in (BROKEN, "Incomplete JSON segment"))
