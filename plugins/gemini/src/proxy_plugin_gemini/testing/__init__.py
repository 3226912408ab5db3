"""Google's public API for tests: :class:`FakeGemini` on a real socket, and the errors of the real API."""

from proxy_plugin_gemini.testing.errors import ERRORS, error_body, info, quota, retry, variants
from proxy_plugin_gemini.testing.says import call, finish, raw, text
from proxy_plugin_gemini.testing.server import API_KEY, FakeGemini, error_script, json_script, refusal

__all__ = [
    "API_KEY",
    "ERRORS",
    "FakeGemini",
    "call",
    "error_body",
    "error_script",
    "finish",
    "info",
    "json_script",
    "quota",
    "raw",
    "refusal",
    "retry",
    "text",
    "variants",
]
