"""The dialects keep the promises of their kind; the provider's tests are beside those of its functions."""

import pytest

from proxy_core.testing import DialectConformance, plugin_context
from proxy_plugin_gemini import proxy_dialects

CALL = {"functionCall": {"name": "look", "args": {"a": 1}}}
RESULT = {"functionResponse": {"name": "look", "response": {"result": "5"}}}


@pytest.fixture
def dialects(tmp_path):
    return {dialect.name: dialect for dialect in proxy_dialects(plugin_context("gemini", folder=tmp_path))}


class TestGemini(DialectConformance):
    requests = (
        {"model": "m", "contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
        {
            "model": "m",
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "contents": [
                {"role": "user", "parts": [{"text": "look"}]},
                {"role": "model", "parts": [CALL]},
                {"role": "user", "parts": [RESULT]},
            ],
            "tools": [{"functionDeclarations": [{"name": "look", "parameters": {"type": "object"}}]}],
            "stream": True,
        },
    )

    @pytest.fixture
    def dialect(self, dialects):
        return dialects["gemini"]


class TestEmbeddings(DialectConformance):
    requests = (
        {"model": "m", "batch": False, "content": {"parts": [{"text": "a"}]}},
        {"model": "m", "batch": True, "requests": [{"model": "models/m", "content": {"parts": [{"text": "a"}]}}]},
    )

    @pytest.fixture
    def dialect(self, dialects):
        return dialects["gemini_embeddings"]
