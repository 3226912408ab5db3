"""The dialect keeps the promises of its kind; the provider's tests are beside those of its functions."""

import pytest

from proxy_core.testing import DialectConformance, plugin_context
from proxy_plugin_anthropic import proxy_dialects

CALL = {"type": "tool_use", "id": "t1", "name": "look", "input": {"a": 1}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "5"}


class TestMessages(DialectConformance):
    requests = (
        {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]},
        {
            "model": "m",
            "max_tokens": 9,
            "system": [{"type": "text", "text": "Be brief."}],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "look"}]},
                {"role": "assistant", "content": [CALL]},
                {"role": "user", "content": [RESULT, {"type": "text", "text": "and?"}]},
            ],
            "tools": [{"name": "look", "input_schema": {"type": "object"}}],
            "stream": True,
        },
    )

    @pytest.fixture
    def dialect(self, tmp_path):
        [dialect] = proxy_dialects(plugin_context("anthropic", folder=tmp_path))
        return dialect
