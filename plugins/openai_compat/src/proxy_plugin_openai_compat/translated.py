"""Requests of clients of other formats: what these always send and only some models take. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import takewhile
from typing import Any

from proxy_core import ChatRequest, Message, Text, ToolResult
from proxy_core.dialects.openai_chat import encode_messages
from proxy_plugin_openai_compat.quirks import KNOW_EFFORT, NEED_THOUGHTS, READ_THOUGHTS, TAKE_SYSTEM, Vendor

_SYSTEM = ("system", "developer")
#: DeepSeek V4 Pro refuses an empty one: hermes-agent #18263.
NO_THOUGHT = " "

FindThought = Callable[[Mapping[str, Any]], str | None]


def unknown(message: Mapping[str, Any]) -> None:
    """Nothing is known of any thought."""


def fit_translated(body: dict[str, Any], chat: ChatRequest) -> None:
    """Leave out thoughts of earlier turns, and an effort where the model may decide; keep system messages in front."""
    model = str(body.get("model", "")).lower()
    reads, needs = _any(READ_THOUGHTS, model), _any(NEED_THOUGHTS, model)
    if not reads or needs:
        body["messages"] = [_with_thoughts(message, reads) for message in body.get("messages", ())]
    if not _any(TAKE_SYSTEM, model):
        body["messages"] = in_order(body.get("messages", []))
    adaptive = chat.reasoning is not None and chat.reasoning.mode == "adaptive"
    if adaptive and not _any(KNOW_EFFORT, model):
        body.pop("reasoning_effort", None)


def _with_thoughts(message: Mapping[str, Any], reads: bool) -> dict[str, Any]:
    """Without thoughts, or with a placeholder where a model that reads them needs one."""
    if not reads:
        return {key: value for key, value in message.items() if key != "reasoning_content"}
    return with_placeholder(message) if "tool_calls" in message else dict(message)


def with_placeholder(message: Mapping[str, Any], find: FindThought = unknown) -> dict[str, Any]:
    """With a thought, if the client left it out: some models answer 400 to a turn of theirs without one."""
    if message.get("role") != "assistant":
        return dict(message)
    given = str(message.get("reasoning_content") or "")
    return {**message, "reasoning_content": given if given.strip() else find(message) or NO_THOUGHT}


def keep_marks(body: dict[str, Any], chat: ChatRequest, vendor: Vendor) -> None:
    """Have the messages keep the marks for the prompt cache that a client of another format set."""
    if not _any(vendor.caches, str(body.get("model", "")).lower()):
        return
    if any("cache_control" in extra for message in chat.messages for extra in _extras(message)):
        body["messages"] = encode_messages(chat, vendor.cached_roles)


def _extras(message: Message) -> Iterable[Mapping[str, Any]]:
    """The members of texts and results, and of the texts inside those."""
    for part in message.parts:
        if isinstance(part, ToolResult):
            yield part.extra
            yield from (inner.extra for inner in part.parts if isinstance(inner, Text))
        elif isinstance(part, Text):
            yield part.extra


def _any(globs: Iterable[str], model: str) -> bool:
    return any(fnmatchcase(model, glob) for glob in globs)


def in_order(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One system message, at the beginning, and one message of the user at a time. A later system message keeps its
    place as a reminder in the user's words."""
    leading = list(takewhile(lambda message: message.get("role") in _SYSTEM, messages))
    joined = [{"role": "system", "content": _joined([_parts(message) for message in leading])}] if leading else []
    turns: list[list[dict[str, Any]]] = []
    for message in messages[len(leading) :]:
        said = _reminder(message) if message.get("role") in _SYSTEM else message
        if said.get("role") == "user" and turns and turns[-1][0].get("role") == "user":
            turns[-1].append(said)
        else:
            turns.append([said])
    return [*joined, *(_one(turn) for turn in turns)]


def _one(turn: list[dict[str, Any]]) -> dict[str, Any]:
    return turn[0] if len(turn) == 1 else {**turn[0], "content": _joined([_parts(message) for message in turn])}


def _reminder(message: dict[str, Any]) -> dict[str, Any]:
    texts = [str(part.get("text", "")) for part in _parts(message)]
    return {"role": "user", "content": "<system-reminder>\n" + "\n\n".join(texts) + "\n</system-reminder>"}


def _parts(message: dict[str, Any]) -> list[dict[str, Any]]:
    content = message.get("content")
    return content if isinstance(content, list) else [{"type": "text", "text": content or ""}]


def _joined(contents: list[list[dict[str, Any]]]) -> object:
    """Texts as one, if there is nothing else."""
    parts = [part for content in contents for part in content]
    if all(part.keys() == {"type", "text"} for part in parts):
        return "\n\n".join(part["text"] for part in parts)
    return parts
