"""An event filter for texts, which arrive in pieces: a match may begin in one event and end in another."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from msgspec.structs import replace

from proxy_core.messages import ChatEvent, ReasoningDelta, RefusalDelta, TextDelta

__all__ = ["TextFilter"]

_Delta = TextDelta | ReasoningDelta | RefusalDelta
_Text = tuple[type[_Delta], int]


class TextFilter:
    """Replaces what ``pattern`` finds in a response's texts, its reasoning and refusals, however they are split.

    ``hold`` is the length of the longest match, with what a lookahead reads: the last ``hold - 1`` characters wait for
    more text or its end, so that every split gives the same result. A longer match may be missed. ``replacement`` is
    as for ``re.sub``. Arguments of tool calls pass unchanged. It is what a sanitizer's ``events`` returns, one for each
    response::

        Sanitizer(name="polite", events=lambda request: TextFilter(r"darn", "d***", hold=4))
    """

    def __init__(
        self, pattern: str | re.Pattern[str], replacement: str | Callable[[re.Match[str]], str], *, hold: int
    ) -> None:
        self._pattern = re.compile(pattern)
        self._replacement = replacement
        self._hold = hold
        #: By kind and choice: the text that waits behind what was before it, for lookbehinds; and its event.
        self._waiting: dict[_Text, tuple[str, str, _Delta]] = {}
        if hold < 1 or self._pattern.match(""):
            raise ValueError("hold must be at least 1, and the pattern may not match an empty text")

    def feed(self, event: ChatEvent) -> Sequence[ChatEvent]:
        if not isinstance(event, TextDelta | ReasoningDelta | RefusalDelta):
            return [*self.close(), event]
        text: _Text = (type(event), event.choice)
        ended = [other for other in self._waiting if other[1] == event.choice and other != text]
        out: list[ChatEvent] = [self._end(other) for other in ended]  # the order of events is kept
        before, held, _ = self._waiting.pop(text, ("", "", event))
        last = isinstance(event, ReasoningDelta) and event.opaque is not None  # a signature ends its section
        written, before, held = self._written(before, held + event.text, last=last)
        if held:
            self._waiting[text] = (before, held, replace(event, text=""))
        return [*out, replace(event, text=written)] if written or not held else out

    def close(self) -> Sequence[ChatEvent]:
        return [self._end(text) for text in list(self._waiting)]

    def _end(self, text: _Text) -> _Delta:
        before, held, event = self._waiting.pop(text)
        return replace(event, text=self._written(before, held, last=True)[0])

    def _written(self, before: str, text: str, *, last: bool) -> tuple[str, str, str]:
        """What is decided of ``text``, in its new form; then what precedes the rest, and the rest."""
        whole, at = before + text, len(before)
        decided = len(whole) if last else max(at, len(whole) - self._hold + 1)
        out = []
        for match in self._matches(whole, at, decided):
            out += [whole[at : match.start()], self._new(match)]
            at = match.end()
        end = max(at, decided)
        out.append(whole[at:end])
        return "".join(out), whole[max(0, end - self._hold) : end], whole[end:]

    def _matches(self, whole: str, at: int, decided: int) -> Iterator[re.Match[str]]:
        """The matches that begin where they can no longer become longer."""
        for match in self._pattern.finditer(whole, at):
            if match.start() >= decided:
                return
            yield match

    def _new(self, match: re.Match[str]) -> str:
        return match.expand(self._replacement) if isinstance(self._replacement, str) else self._replacement(match)
