"""What a model thought before it called tools, for clients that do not return it: in memory, bounded, for an hour.

Where it is not known (it was another process's response, or a restart or reload came between), the vendor gets a
placeholder. Of turns without calls the models read no thoughts: api-docs.deepseek.com/guides/thinking_mode.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from time import monotonic
from typing import Any

from proxy_core import CallStart, ChatEvent, Finish, ProviderCall, ReasoningDelta

#: Of all clients together: a long session of an agent has hundreds of turns, of a few thousand characters each.
MAX_CHARACTERS = 16_000_000
_KEPT_S = 3600.0


class Thoughts:
    """Thoughts by client and id of a call. The vendor makes the ids, which are unique among a client's calls."""

    def __init__(self, max_characters: int = MAX_CHARACTERS, clock: Callable[[], float] = monotonic) -> None:
        self._max_characters = max_characters
        self._clock = clock
        self._kept: OrderedDict[tuple[str, str], tuple[str, float]] = OrderedDict()
        self._characters = 0
        self._lock = Lock()

    def listener(self, call: ProviderCall) -> Callable[[Sequence[ChatEvent]], None] | None:
        """``Provider.listener``: only a response that may call tools after a thought is listened to."""
        if not call.body.get("tools") or call.body.get("thinking") == {"type": "disabled"}:
            return None
        return _Turn(call.client, self._keep).hear

    def find(self, client: str, message: Mapping[str, Any]) -> str | None:
        """The thought before this message of the assistant, as a client returned it."""
        for call in message.get("tool_calls") or ():
            found = self._found((client, str(call.get("id")))) if isinstance(call, Mapping) else None
            if found is not None:
                return found
        return None

    def _found(self, key: tuple[str, str]) -> str | None:
        with self._lock:
            thought, until = self._kept.get(key, ("", 0.0))
            return thought if until > self._clock() else None

    def _keep(self, client: str, call_id: str, thought: str) -> None:
        now, key = self._clock(), (client, call_id)
        with self._lock:
            self._characters += len(thought) - len(self._kept.pop(key, ("", 0.0))[0])
            self._kept[key] = (thought, now + _KEPT_S)
            while self._kept and (self._characters > self._max_characters or next(iter(self._kept.values()))[1] <= now):
                self._characters -= len(self._kept.popitem(last=False)[1][0])


class _Turn:
    """Of one response: the thoughts so far, and the first call, of each choice."""

    def __init__(self, client: str, keep: Callable[[str, str, str], None]) -> None:
        self._client, self._keep = client, keep
        self._thoughts: defaultdict[int, list[str]] = defaultdict(list)
        self._first: dict[int, str] = {}

    def hear(self, events: Sequence[ChatEvent]) -> None:
        for event in events:
            match event:
                case ReasoningDelta(text=str(text)) if text:
                    self._thoughts[event.choice].append(text)
                case CallStart():
                    self._first.setdefault(event.choice, event.id)
                case Finish() if event.choice in self._first and self._thoughts[event.choice]:
                    self._keep(self._client, self._first[event.choice], "".join(self._thoughts[event.choice]))
                case _:
                    pass
