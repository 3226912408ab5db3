"""A Google for tests: :class:`FakeGoogle` on a real socket, and the errors the real one gives."""

from proxy_plugin_gemini_cli.testing.errors import ERRORS, error_body, info, quota, retry, variants
from proxy_plugin_gemini_cli.testing.google import (
    API_KEY,
    LOADS,
    PROJECT,
    REFUSALS,
    Account,
    Bucket,
    FakeGoogle,
    call,
    finish,
    raw,
    text,
)

__all__ = [
    "API_KEY",
    "ERRORS",
    "LOADS",
    "PROJECT",
    "REFUSALS",
    "Account",
    "Bucket",
    "FakeGoogle",
    "call",
    "error_body",
    "finish",
    "info",
    "quota",
    "raw",
    "retry",
    "text",
    "variants",
]
