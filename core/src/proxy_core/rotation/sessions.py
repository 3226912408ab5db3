"""Which conversation a request belongs to, and which credential serves it."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from proxy_core.interfaces import ProxyRequest

#: Keys under which clients send a session id, in the body or in its ``metadata``.
_NAMES = ("session_id", "conversation_id", "thread_id", "chat_id", "conversation", "prompt_cache_key")
#: Only the beginning of a long first message is hashed, and only the first few messages before the user's.
_MAX_CHARS = 20_000
_MAX_MESSAGES = 8
#: Clients change these during a conversation: a cache mark moves, a plain text becomes a list of parts.
_FLEETING = frozenset({"cache_control", "id", "role", "type"})


def session_key(request: ProxyRequest) -> str:
    """A digest that stays the same while a conversation grows: of its explicit id, or else of its beginning.

    Two clients never share one.
    """
    identity = request.session or next(_explicit(request.body), None)
    if identity is None:
        identity = "\0".join(_words(part) for part in islice(_beginning(request.body), _MAX_MESSAGES))
    return hashlib.blake2b(f"{request.client}\0{identity}".encode("utf-8", "replace"), digest_size=12).hexdigest()


def _explicit(body: Mapping[str, Any]) -> Iterator[str]:
    metadata = body.get("metadata")
    for fields in (body, metadata if isinstance(metadata, Mapping) else {}):
        for name in _NAMES:
            value = fields.get(name)
            if isinstance(value, Mapping):  # the Responses dialect's ``{"id": ...}``
                value = value.get("id")
            if isinstance(value, str) and value:
                yield value
    if isinstance(metadata, Mapping) and isinstance(metadata.get("user_id"), str):
        yield metadata["user_id"]  # some agents put their session id here


def _beginning(body: Mapping[str, Any]) -> Iterator[Any]:
    """The instructions, and the messages up to the user's first."""
    yield body.get("instructions") or body.get("system") or body.get("systemInstruction")
    messages = body.get("messages") or body.get("input") or body.get("contents")
    if not isinstance(messages, list):
        yield messages or body.get("prompt")
        return
    for message in messages:
        yield message
        if not isinstance(message, Mapping) or message.get("role", "user") == "user":
            return


def _words(value: Any) -> str:
    """The beginning of a message's text, whatever its shape."""
    found: list[str] = []
    waiting, left = [value], _MAX_CHARS
    while waiting and left > 0:
        match waiting.pop():
            case str(text):
                found.append(text[:left])
                left -= len(text)
            case list(parts):
                waiting.extend(reversed(parts))
            case dict(fields):
                waiting.extend(part for name, part in reversed(fields.items()) if name not in _FLEETING)
    return "".join(found)


class Sessions:
    """The id of the credential that served each recent conversation. In memory; times are monotonic seconds."""

    def __init__(self, ttl_s: float, most: int = 10_000) -> None:
        self.ttl_s = ttl_s
        self._most = most
        self._known: OrderedDict[str, tuple[str, float]] = OrderedDict()
        #: Sessions whose credential other processes do not know yet.
        self.changes: set[str] = set()

    def get(self, session: str, now: float) -> str | None:
        credential, at = self._known.get(session, (None, 0.0))
        return credential if now - at <= self.ttl_s else None

    def known(self, session: str) -> tuple[str, float] | None:
        """The credential and when it was chosen, however long ago that was."""
        return self._known.get(session)

    def remember(self, session: str, credential: str, now: float) -> None:
        before = self._known.get(session)
        if before is None or before[0] != credential or now - before[1] > self.ttl_s / 2:
            self.changes.add(session)
        self.take_over(session, credential, now)

    def take_over(self, session: str, credential: str, at: float) -> None:
        """Record the choice of another process."""
        self._known[session] = (credential, at)
        self._known.move_to_end(session)
        if len(self._known) > self._most:
            gone, _ = self._known.popitem(last=False)
            self.changes.discard(gone)
