"""Another format's messages in the form that every server for this one accepts.

Many take only texts from a system, an assistant or a tool, and none takes other formats' members.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from proxy_core.messages import Audio, File, Image, Message, Native, Part, Text, ToolCall, ToolResult

_MEDIA = (Image, Audio, File)


def plain_messages(messages: Sequence[Message]) -> Iterable[Message]:
    """The media of results follow as a user's message, after the last result in a row."""
    media: list[Part] = []
    for message in messages:
        if message.role == "tool":
            yield Message(role="tool", parts=[_result(part, media) for part in message.parts])
            continue
        if media:
            yield Message(role="user", parts=media)
            media = []
        between = "" if message.role == "assistant" else "\n\n"
        yield replace(message, parts=_joined([_bare(part) for part in message.parts], between), extra={})
    if media:
        yield Message(role="user", parts=media)


def _result(part: Part, media: list[Part]) -> Part:
    if not isinstance(part, ToolResult):
        return part
    found = [_bare(inner) for inner in part.parts if isinstance(inner, _MEDIA)]
    media += found
    parts = [_bare(inner) for inner in part.parts if not isinstance(inner, _MEDIA)]
    if found and not parts:
        parts = [Text(text="The result follows as media.")]
    return replace(part, parts=_joined(parts, "\n"), extra={})


def _bare(part: Part) -> Part:
    return replace(part, extra={}) if isinstance(part, Text | Image | Audio | File | ToolCall) and part.extra else part


def _joined(parts: list[Part], between: str) -> Sequence[Part]:
    """Texts as one, unless there is something else than thoughts and calls to tell them apart from."""
    texts = [part for part in parts if isinstance(part, Text)]
    if len(texts) < 2 or any(isinstance(part, (*_MEDIA, Native)) for part in parts):
        return parts
    whole = Text(text=between.join(text.text for text in texts), opaque=texts[-1].opaque)
    first = parts.index(texts[0])
    rest = [part for part in parts if not isinstance(part, Text)]
    return [*rest[:first], whole, *rest[first:]]
