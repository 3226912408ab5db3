"""Another format's messages in the form that every server for this one accepts.

Many take only texts from a system, an assistant or a tool, and none takes other formats' members.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from msgspec.structs import replace

from proxy_core.messages import Audio, Extra, File, Image, Message, Native, Part, Text, ToolCall, ToolResult

_MEDIA = (Image, Audio, File)


def plain_messages(messages: Sequence[Message], cached: Collection[str] = ()) -> Iterable[Message]:
    """The media of results follow as a user's message, after the last result in a row.

    The texts of ``cached`` roles keep their marks for the cache.
    """
    media: list[Part] = []
    for message in messages:
        if message.role == "tool":
            yield Message(role="tool", parts=[_result(part, media, "tool" in cached) for part in message.parts])
            continue
        if media:
            yield Message(role="user", parts=media)
            media = []
        between = "" if message.role == "assistant" else "\n\n"
        parts = [_bare(part, message.role in cached) for part in message.parts]
        yield replace(message, parts=_joined(parts, between), extra={})
    if media:
        yield Message(role="user", parts=media)


def _result(part: Part, media: list[Part], cached: bool) -> Part:
    if not isinstance(part, ToolResult):
        return part
    found = [_bare(inner) for inner in part.parts if isinstance(inner, _MEDIA)]
    media += found
    parts = [_bare(inner, cached) for inner in part.parts if not isinstance(inner, _MEDIA)]
    if found and not parts:
        parts = [Text(text="The result follows as media.")]
    joined = list(_joined(parts, "\n"))
    if cached and joined and isinstance(joined[-1], Text) and (mark := _mark(part.extra)):
        joined[-1] = replace(joined[-1], extra=mark)
    return replace(part, parts=joined, extra={})


def _bare(part: Part, cached: bool = False) -> Part:
    if not (isinstance(part, Text | Image | Audio | File | ToolCall) and part.extra):
        return part
    return replace(part, extra=_mark(part.extra) if cached and isinstance(part, Text) else {})


def _mark(extra: Extra) -> Extra:
    mark = extra.get("cache_control")
    return {"cache_control": mark} if isinstance(mark, dict) else {}


def _joined(parts: list[Part], between: str) -> Sequence[Part]:
    """Texts as one, unless there is something else than thoughts and calls to tell them apart from."""
    texts = [part for part in parts if isinstance(part, Text)]
    marked = any(text.extra for text in texts)
    if len(texts) < 2 or marked or any(isinstance(part, (*_MEDIA, Native)) for part in parts):
        return parts
    whole = Text(text=between.join(text.text for text in texts), opaque=texts[-1].opaque)
    first = parts.index(texts[0])
    rest = [part for part in parts if not isinstance(part, Text)]
    return [*rest[:first], whole, *rest[first:]]
