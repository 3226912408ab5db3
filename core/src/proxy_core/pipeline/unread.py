"""What of a request a provider never looked at: nothing of that can have reached its upstream."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import fields

from proxy_core.messages import ChatRequest, Sampling

_CHAT = tuple(field.name for field in fields(ChatRequest))
_SAMPLING = tuple(field.name for field in fields(Sampling))
#: Every provider has to do with these; of ``sampling`` and ``extra`` what they hold is reported.
_NOT_REPORTED = frozenset({"model", "messages", "dialect", "stream", "include_usage", "sampling", "extra"})
#: As clients spell them, where that differs.
_NAMES = {"reasoning": "reasoning_effort", "cache_key": "prompt_cache_key"}


class _NotedSampling(Sampling, frozen=True, kw_only=True):
    read: set[str]

    def __getattribute__(self, name: str) -> object:
        return _noted(self, name)


class _NotedChat(ChatRequest, frozen=True, kw_only=True):
    read: set[str]

    def __getattribute__(self, name: str) -> object:
        return _noted(self, name)


def _noted(value: Struct, name: str) -> object:
    found: set[str] = object.__getattribute__(value, "read")
    found.add(name)
    return object.__getattribute__(value, name)


def noting(chat: ChatRequest) -> ChatRequest:
    """The same request, which notes the fields that are read of it and of its copies."""
    read: set[str] = set()
    values = {name: getattr(chat, name) for name in _CHAT}
    sampling = {name: getattr(chat.sampling, name) for name in _SAMPLING}
    return _NotedChat(**{**values, "sampling": _NotedSampling(**sampling, read=read)}, read=read)


def unread(chat: ChatRequest) -> list[str]:
    """The fields that are set and were not read, if ``chat`` notes that; none if it was converted as a whole."""
    read = set(chat.read) if isinstance(chat, _NotedChat) else set()
    if "messages" not in read:
        return []
    places = [*((chat, name) for name in _CHAT if name not in _NOT_REPORTED), *((chat.sampling, n) for n in _SAMPLING)]
    left_out = [_NAMES.get(name, name) for place, name in places if name not in read and _is_set(getattr(place, name))]
    return [*left_out, *(chat.extra if "extra" not in read else ())]


def _is_set(value: object) -> bool:
    return value is not None and value not in ((), [], {})
