"""Anthropic's API for tests: :class:`FakeAnthropic` on a real socket, and the errors of the real one."""

from proxy_plugin_anthropic.testing.checks import Model, check
from proxy_plugin_anthropic.testing.errors import ERRORS, Error
from proxy_plugin_anthropic.testing.message import event
from proxy_plugin_anthropic.testing.says import block, call, fails, finish, redacted, text, thinking
from proxy_plugin_anthropic.testing.server import API_KEY, MODELS, FakeAnthropic, error_script, json_script, refusal
from proxy_plugin_anthropic.testing.words import Refused

__all__ = [
    "API_KEY",
    "ERRORS",
    "MODELS",
    "Error",
    "FakeAnthropic",
    "Model",
    "Refused",
    "block",
    "call",
    "check",
    "error_script",
    "event",
    "fails",
    "finish",
    "json_script",
    "redacted",
    "refusal",
    "text",
    "thinking",
]
