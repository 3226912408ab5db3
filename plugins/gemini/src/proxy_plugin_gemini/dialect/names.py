"""Map function names to names that Gemini accepts, and back.

Letters, digits, ``_ . : -``, a letter or ``_`` first; at most 63 (newer documentation says 128, older backends 64).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Literal

from msgspec import Struct, field

from proxy_core import ChatRequest, CustomTool, FunctionTool, ToolCall, ToolResult

_FITS = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,62}")
_BAD = re.compile(r"[^A-Za-z0-9_.:-]")
_LONGEST = 63


class Original(Struct, frozen=True):
    """The client's name for a function."""

    name: str
    namespace: str | None = None
    kind: Literal["function", "custom"] = "function"


class NameTable(Struct, frozen=True):
    """The names of one request, in both directions. A name that is not in the table stays unchanged."""

    sent: Mapping[tuple[str | None, str], str] = field(default_factory=dict)
    called: Mapping[str, Original] = field(default_factory=dict)

    def to_gemini(self, name: str, namespace: str | None = None) -> str:
        return self.sent.get((namespace, name), name)

    def to_client(self, name: str) -> Original:
        return self.called.get(name) or Original(name)


def name_table(chat: ChatRequest) -> NameTable:
    """Deterministic: the same request gives the same table. Valid names stay unchanged, whatever their order."""
    wanted = list(dict.fromkeys(_names(chat)))
    taken = {o.name for o in wanted if o.namespace is None and _FITS.fullmatch(o.name)}
    sent: dict[tuple[str | None, str], str] = {}
    called: dict[str, Original] = {}
    for original in wanted:
        key = (original.namespace, original.name)
        if key in sent:
            continue
        if original.namespace is None and _FITS.fullmatch(original.name):
            name = original.name
        else:
            name = _fitted(original, taken)
            taken.add(name)
        sent[key] = name
        called[name] = original
    return NameTable(sent, called)


def _names(chat: ChatRequest) -> Iterator[Original]:
    for tool in chat.tools:
        if isinstance(tool, FunctionTool):
            yield Original(tool.name, tool.namespace)
        elif isinstance(tool, CustomTool):
            yield Original(tool.name, tool.namespace, "custom")
    for message in chat.messages:
        for part in message.parts:
            if isinstance(part, ToolCall):
                yield Original(part.name, part.namespace, part.kind)
            elif isinstance(part, ToolResult) and part.name:
                yield Original(part.name)


def _fitted(original: Original, taken: set[str]) -> str:
    whole = original.name if original.namespace is None else f"{original.namespace}__{original.name}"
    name = _BAD.sub("_", whole)
    if not re.match(r"[A-Za-z_]", name):
        name = f"_{name}"
    if len(name) <= _LONGEST and name not in taken:
        return name
    salt = 0
    while True:
        digest = sha256(f"{whole}\0{salt}".encode("utf-8", "surrogatepass")).hexdigest()[:8]
        candidate = f"{name[: _LONGEST - 9]}_{digest}"
        if candidate not in taken:
            return candidate
        salt += 1
