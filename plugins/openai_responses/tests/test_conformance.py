"""The dialect keeps the promises of its kind."""

import pytest

from proxy_core.testing import DialectConformance, plugin_context
from proxy_plugin_openai_responses import proxy_dialects

CALL = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"a": 1}'}


class TestResponses(DialectConformance):
    requests = (
        {"model": "m", "input": "hi"},
        {"model": "m", "instructions": "Be brief.", "input": [{"role": "user", "content": "hi"}], "stream": True},
        {
            "model": "m",
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "look"}]},
                CALL,
                {"type": "function_call_output", "call_id": "c1", "output": "5"},
            ],
            "tools": [{"type": "function", "name": "look", "parameters": {"type": "object"}}],
        },
    )

    @pytest.fixture
    def dialect(self, tmp_path):
        [dialect] = proxy_dialects(plugin_context("openai_responses", folder=tmp_path))
        return dialect
