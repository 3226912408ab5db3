"""The contract with the core."""

import json

import pytest
from pydantic import SecretStr

from proxy_core import Credential, ProviderSettings
from proxy_core.testing import ProviderConformance, ProviderContract, chunk
from proxy_plugin_qwen_code.provider import qwen_provider
from proxy_plugin_qwen_code.settings import QwenCodeSettings

CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"a":'}}
STREAM = b"".join(
    [
        b": keep-alive\r\n\r\n",
        chunk({"role": "assistant", "content": None, "reasoning_content": "hm"}),
        chunk({"content": "hé"}).replace(b"\\u00e9", "é".encode()),
        chunk({"tool_calls": [CALL]}),
        chunk({"tool_calls": [{"index": 0, "function": {"name": None, "arguments": "1}"}}]}),
        chunk(usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "cached_tokens": 1}),
        chunk({}, finish="stop"),
        b"data:[DONE]\n\n",
    ]
)
MESSAGE = {"role": "assistant", "content": "hé", "reasoning_content": "hm"}
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
WHOLE = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "qwen3-coder-plus", "usage": USAGE}
BOTH = [
    {"index": index, "id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": "{}"}}
    for index, name in enumerate(["look", "find"])
]


class TestLogins(ProviderConformance):
    stream_sample = STREAM
    plain_sample = json.dumps(
        {**WHOLE, "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop"}]}
    ).encode()
    calls_sample = b"".join(
        [
            chunk({"role": "assistant", "content": None, "tool_calls": BOTH[:1]}),
            chunk({"tool_calls": BOTH[1:]}),
            chunk({}, finish="tool_calls"),
            chunk(usage=USAGE),
            b"data:[DONE]\n\n",
        ]
    )
    failure_sample = b'{"error": {"message": "The service is overloaded.", "code": "ServiceUnavailable"}}'

    @pytest.fixture
    def provider(self):
        return qwen_provider(QwenCodeSettings(), ProviderSettings())


class TestKeys(TestLogins):
    @pytest.fixture
    def credential(self, provider):
        secret = SecretStr("contract-secret-0123456789")
        return Credential(id="k", provider=provider.name, kind="api_key", secret=secret, label="test")


class TestPages(ProviderContract):
    stream_sample = b"\n<!doctype html><p>no</p>"
    provider = TestLogins.provider


class TestLines(TestPages):
    stream_sample = (
        b'{"choices":[{"index":0,"delta":{"content":"a"}}]}\n'
        b'{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n'
    )
