"""OpenAI's Responses API for tests: :class:`FakeResponses` on a real socket, as strict as the real one."""

from proxy_plugin_openai_responses.testing.checks import Refused, check
from proxy_plugin_openai_responses.testing.says import call, custom, end, fails, hosted, raw, reasoning, refusal, text
from proxy_plugin_openai_responses.testing.server import API_KEY, FakeResponses
from proxy_plugin_openai_responses.testing.stream import Answer

__all__ = [
    "API_KEY",
    "Answer",
    "FakeResponses",
    "Refused",
    "call",
    "check",
    "custom",
    "end",
    "fails",
    "hosted",
    "raw",
    "reasoning",
    "refusal",
    "text",
]
