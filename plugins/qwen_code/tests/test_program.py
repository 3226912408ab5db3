"""A new user's steps, with the real program: log in, share the vendor's file, add a key, send a request."""

import asyncio
import json

import httpx
import pytest

from proxy_core.testing import run, serving
from proxy_plugin_qwen_code.lifecycle import DISCONTINUED


@pytest.fixture
def variables(qwen):
    named = {f"PROXY_PLUGINS__QWEN_CODE__{name.upper()}": value for name, value in qwen.settings.items()}
    return {**named, "SSH_CONNECTION": "1 2 3 4", "PROXY_API_KEY": "client-key-0123456789"}


async def chat(program):
    async with httpx.AsyncClient(trust_env=False) as client:
        body = {"model": "qwen_code/coder-model", "messages": [{"role": "user", "content": "hi"}]}
        headers = {"authorization": "Bearer client-key-0123456789"}
        return await client.post(f"{program.url}/v1/chat/completions", json=body, headers=headers)


async def test_logging_in_over_ssh_and_sending_a_request(qwen, variables, tmp_path):
    async def typed_in():
        while not qwen._devices:
            await asyncio.sleep(0.02)
        qwen.approve(next(iter(qwen._devices.values())).user_code)

    (code, output), _ = await asyncio.gather(run(tmp_path, "login", "qwen-code", "--yes", **variables), typed_in())

    assert code == 0, output
    assert DISCONTINUED in output
    assert f"{qwen.base}/device?user_code=" in output
    assert output.index(DISCONTINUED) < output.index("Enter this code")
    async with serving(tmp_path, **variables) as program:
        answer = await chat(program)
    assert answer.status_code == 200, answer.text
    assert qwen.chats[0].key in qwen._access


async def test_sharing_the_vendors_file_and_adding_a_key(qwen, variables, tmp_path):
    tokens = qwen.issue()
    fields = {"access_token": "", "refresh_token": tokens.refresh_token.get_secret_value(), "token_type": "Bearer"}
    fields |= {"access_token": tokens.access_token.get_secret_value(), "expiry_date": 1, "resource_url": qwen.base}
    file = tmp_path / ".qwen" / "oauth_creds.json"
    file.parent.mkdir(mode=0o700)
    file.write_text(json.dumps(fields))

    code, output = await run(tmp_path, "credentials", "import", "qwen-code", "--link", **variables)
    assert code == 0, output
    async with serving(tmp_path, **variables) as program:
        answer = await chat(program)

    assert answer.status_code == 200, answer.text
    assert json.loads(file.read_text())["refresh_token"] == qwen.families[0].current
    assert qwen.spent_again == []


async def test_a_key_can_be_added_beside_logins(qwen, variables, tmp_path):
    qwen.keys.add("sk-sp-a")
    command = ("credentials", "add", "qwen-code", "--tier", "coding_plan-china")
    code, output = await run(tmp_path, *command, stdin="sk-sp-a\n", **variables)
    assert code == 0, output

    async with serving(tmp_path, QWEN_CODE_API_BASE=qwen.url, **variables) as program:
        answer = await chat(program)

    assert answer.status_code == 200, answer.text
    assert [request.key for request in qwen.chats] == ["sk-sp-a"]
