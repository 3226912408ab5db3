"""What the core brings itself keeps the same promises as what plugins bring; stores have tests of their own."""

import pytest

from proxy_core.dialects import openai_chat, openai_completions, openai_embeddings
from proxy_core.pipeline.guard import GUARD
from proxy_core.testing import DialectConformance, SanitizerConformance

CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"a": 1}'}}


class TestGuard(SanitizerConformance):
    bodies = ({"messages": [], "api_base": "http://127.0.0.1:1", "api_key": "k", "extra_headers": {"a": "b"}},)

    @pytest.fixture
    def sanitizer(self):
        return GUARD


class TestChat(DialectConformance):
    requests = (
        {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
        {
            "model": "m",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "look"}]},
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "c1", "content": "5"},
            ],
            "tools": [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}],
            "stream": True,
        },
    )

    @pytest.fixture
    def dialect(self):
        return openai_chat.DIALECT


class TestCompletions(DialectConformance):
    requests = ({"model": "m", "prompt": "hi"}, {"model": "m", "prompt": "hi", "stream": True})

    @pytest.fixture
    def dialect(self):
        return openai_completions.DIALECT


class TestEmbeddings(DialectConformance):
    requests = ({"model": "m", "input": "hi"}, {"model": "m", "input": ["a", "b"]})

    @pytest.fixture
    def dialect(self):
        return openai_embeddings.DIALECT
