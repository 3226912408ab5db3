"""Text that arrives in pieces: detect deltas that repeat the whole text, and reasoning in tags. Pure."""

from __future__ import annotations

from typing import Literal


class Snapshots:
    """Handles streams that repeat the whole text so far in each delta; detected once two deltas in a row do so."""

    __slots__ = ("_held", "_so_far", "_state")

    def __init__(self) -> None:
        self._state: Literal["first", "held", "plain", "snapshots"] = "first"
        self._so_far = ""
        self._held = ""

    def feed(self, text: str) -> str:
        """Returns the part that is new."""
        if not text or self._state == "plain":
            return text
        longer = len(text) > len(self._held or self._so_far) and text.startswith(self._held or self._so_far)
        match self._state:
            case "first" if not self._so_far:
                self._so_far = text
                return text
            case "first" if longer:
                self._state, self._held = "held", text
                return ""
            case "held" if longer:
                new, self._state, self._so_far, self._held = text[len(self._so_far) :], "snapshots", text, ""
                return new
            case "snapshots":
                new = text.removeprefix(self._so_far)
                self._so_far = text if new != text else self._so_far + text
                return new
            case _:
                return self.close() + text

    def close(self) -> str:
        """Release the held text: nothing follows that would make it a repetition."""
        held, self._held = self._held, ""
        if self._state != "snapshots" and (held or self._so_far):
            self._state, self._so_far = "plain", ""
        return held


class ThinkTags:
    """Reads ``<think>…</think>`` at the beginning of an answer as reasoning; later on, tags are part of the text."""

    __slots__ = ("_held", "_state")

    _OPEN, _CLOSE = "<think>", "</think>"

    def __init__(self) -> None:
        self._state: Literal["before", "inside", "after"] = "before"
        self._held = ""

    def feed(self, text: str) -> tuple[str, str]:
        """Returns reasoning and answer text; holds back what may turn out to be a tag."""
        if self._state == "after":
            return "", text
        held, self._held = self._held + text, ""
        thought = ""
        if self._state == "before":
            start = held.lstrip()
            if start.startswith(self._OPEN):
                self._state, held = "inside", start.removeprefix(self._OPEN)
            elif start.startswith(self._CLOSE):  # closes a block that was never opened
                self._state = "after"
                return "", start.removeprefix(self._CLOSE)
            elif self._OPEN.startswith(start) or self._CLOSE.startswith(start):
                self._held = held
                return "", ""
            else:
                self._state = "after"
                return "", held
        thought, tag, rest = held.partition(self._CLOSE)
        if tag:
            self._state = "after"
            return thought, rest
        keep = next((n for n in range(len(self._CLOSE) - 1, 0, -1) if thought.endswith(self._CLOSE[:n])), 0)
        self._held = thought[len(thought) - keep :]
        return thought[: len(thought) - keep], ""

    def close(self) -> tuple[str, str]:
        held, self._held = self._held, ""
        return (held, "") if self._state == "inside" else ("", held)
