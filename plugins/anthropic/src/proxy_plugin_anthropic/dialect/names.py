"""Names and ids that Anthropic accepts, and the way back to the client's own.

Tools: letters, digits, ``_`` and ``-``, at most 64 (newer backends take 128). Ids of calls: the same characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Literal

from msgspec import Struct, field

from proxy_core import ChatRequest, CustomTool, FunctionTool, ToolCall
from proxy_plugin_anthropic.dialect.answer_tool import TOOL, answers_by_tool

_FITS = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_BAD = re.compile(r"[^a-zA-Z0-9_-]")
_LONGEST = 64
_LONGEST_ID = 128


class Original(Struct, frozen=True):
    """The client's name for a tool. It does not know the one that ``answers``, whose input is the response."""

    name: str
    namespace: str | None = None
    kind: Literal["function", "custom"] = "function"
    answers: bool = False


class NameTable(Struct, frozen=True):
    """The names of one request, in both directions. A name that is not in the table stays unchanged."""

    sent: Mapping[tuple[str | None, str], str] = field(default_factory=dict)
    called: Mapping[str, Original] = field(default_factory=dict)

    def to_upstream(self, name: str, namespace: str | None = None) -> str:
        return self.sent.get((namespace, name), name)

    def to_client(self, name: str) -> Original:
        return self.called.get(name) or Original(name)


def name_table(chat: ChatRequest) -> NameTable:
    """Deterministic: the same request gives the same table. Valid names stay unchanged, whatever their order."""
    wanted = list(dict.fromkeys(_names(chat)))
    taken = {o.name for o in wanted if _fits(o)}
    sent: dict[tuple[str | None, str], str] = {}
    called: dict[str, Original] = {}
    for original in wanted:
        key = (original.namespace, original.name)
        if key in sent:
            continue
        name = original.name if _fits(original) else _fitted(original, taken)
        taken.add(name)
        sent[key] = name
        called[name] = original
    if answers_by_tool(chat):
        called[TOOL] = Original(TOOL, None, "function", True)
    return NameTable(sent, called)


def call_id(wanted: str) -> str:
    """An id that Anthropic accepts; the same one for the same id, so that a result finds its call."""
    cleaned = _BAD.sub("_", wanted)
    if cleaned == wanted and 0 < len(wanted) <= _LONGEST_ID:
        return wanted
    return f"{cleaned[:48]}_{_digest(wanted)}"


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


def _fits(original: Original) -> bool:
    return original.namespace is None and _FITS.fullmatch(original.name) is not None


def _fitted(original: Original, taken: set[str]) -> str:
    whole = original.name if original.namespace is None else f"{original.namespace}__{original.name}"
    name = _BAD.sub("_", whole)
    if 0 < len(name) <= _LONGEST and name not in taken and name == whole:
        return name
    salt = ""
    while (candidate := f"{name[: _LONGEST - 9]}_{_digest(whole + salt)}") in taken:
        salt += "\0"
    return candidate


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
