"""A chat response as it arrives: its events and its usage."""

from __future__ import annotations

from typing import Literal, get_args

from msgspec import Struct, field
from msgspec.structs import force_setattr

from proxy_core.messages.content import Opaque
from proxy_core.messages.json_types import Extra

__all__ = [
    "CHAT_EVENTS",
    "CallDelta",
    "CallEnd",
    "CallStart",
    "Carried",
    "ChatEvent",
    "Citation",
    "Failed",
    "Finish",
    "FinishReason",
    "ReasoningDelta",
    "RefusalDelta",
    "Start",
    "TextDelta",
    "Usage",
    "UsageReport",
]


#: More tokens than any response has.
MOST_TOKENS = 10**12


class Usage(Struct, frozen=True, kw_only=True):
    """Tokens. ``prompt`` includes ``cached`` and ``cache_write``; ``completion`` includes ``reasoning``."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    extra: Extra = field(default_factory=dict)

    def __post_init__(self) -> None:
        # A server may report anything, and sums of counts must fit into 64 bits.
        for name in ("prompt", "completion", "cached", "cache_write", "reasoning"):
            if not 0 <= getattr(self, name) <= MOST_TOKENS:
                force_setattr(self, name, min(max(getattr(self, name), 0), MOST_TOKENS))

    @property
    def total(self) -> int:
        return self.prompt + self.completion


#: Why a choice ended. ``error``: the upstream failed in the middle of the response.
FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "refusal", "pause", "error"]


class Start(Struct, frozen=True, kw_only=True):
    """The response begins. ``extra``: top-level fields without a field here."""

    id: str | None = None
    model: str | None = None
    created: int | None = None
    extra: Extra = field(default_factory=dict)


class TextDelta(Struct, frozen=True, kw_only=True):
    text: str
    choice: int = 0


class RefusalDelta(Struct, frozen=True, kw_only=True):
    text: str
    choice: int = 0


class ReasoningDelta(Struct, frozen=True, kw_only=True):
    """A piece of reasoning, or (with empty ``text``) the signature that ends a section of it."""

    text: str
    opaque: Opaque | None = None
    summary: bool = False
    choice: int = 0


class CallStart(Struct, frozen=True, kw_only=True):
    """A tool call begins; ``call`` numbers the calls of a choice from 0."""

    call: int
    id: str
    name: str
    kind: Literal["function", "custom"] = "function"
    namespace: str | None = None
    opaque: Opaque | None = None
    choice: int = 0


class CallDelta(Struct, frozen=True, kw_only=True):
    """More of a call's argument text."""

    call: int
    arguments: str
    choice: int = 0


class CallEnd(Struct, frozen=True, kw_only=True):
    call: int
    choice: int = 0


class Citation(Struct, frozen=True, kw_only=True):
    """A source for text that was already sent, in the format of ``dialect``."""

    dialect: str
    payload: Extra
    choice: int = 0


class Carried(Struct, frozen=True, kw_only=True):
    """Something that only ``dialect`` can express; others leave it out."""

    dialect: str
    payload: Extra
    choice: int = 0


class Finish(Struct, frozen=True, kw_only=True):
    """A choice ended. ``detail`` is the stop sequence or the vendor's own reason."""

    reason: FinishReason
    detail: str | None = None
    choice: int = 0


class UsageReport(Struct, frozen=True, kw_only=True):
    """The usage of the response so far; a later report replaces an earlier one."""

    usage: Usage


class Failed(Struct, frozen=True, kw_only=True):
    """The upstream reported an error inside a response; nothing follows. ``extra``: its other fields."""

    message: str
    status: int | None = None
    type: str | None = None
    code: str | None = None
    extra: Extra = field(default_factory=dict)


ChatEvent = (
    Start
    | TextDelta
    | RefusalDelta
    | ReasoningDelta
    | CallStart
    | CallDelta
    | CallEnd
    | Citation
    | Carried
    | Finish
    | UsageReport
    | Failed
)
CHAT_EVENTS = frozenset(get_args(ChatEvent))
