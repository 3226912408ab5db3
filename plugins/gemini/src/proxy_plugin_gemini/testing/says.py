"""Model responses for tests: steps for :meth:`FakeGemini.answers`."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from typing import Any


def text(words: str, *, thought: bool = False, signature: str | None = None) -> dict[str, Any]:
    part: dict[str, Any] = {"text": words}
    if thought:
        part["thought"] = True
    if signature is not None:
        part["thoughtSignature"] = signature
    return {"parts": [part]}


def call(name: str, args: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A function call; ``signed=False`` leaves its signature out, ``id=...`` gives it an id."""
    body: dict[str, Any] = {"name": name}
    if "id" in more:
        body["id"] = more["id"]
    if args is not None:
        body["args"] = dict(args)
    part: dict[str, Any] = {"functionCall": body}
    if more.get("signed", True):
        part["thoughtSignature"] = base64.b64encode(secrets.token_bytes(24)).decode()
    return {"parts": [part]}


def finish(reason: str = "STOP", **usage: int) -> dict[str, Any]:
    return {"finishReason": reason, "usage": usage}


def raw(**response: Any) -> dict[str, Any]:
    """A response object, sent unchanged."""
    return {"raw": response}
