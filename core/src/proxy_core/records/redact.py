"""Taking secrets out of what is written: our own always, everybody else's by redactors."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

from proxy_core.interfaces import Redactor
from proxy_core.messages import JsonObject

log = logging.getLogger("proxy_core.redact")

MASK = "[redacted]"
#: Shorter than this, replacing it would shred ordinary text instead of hiding a secret.
_MIN_LENGTH = 4
#: ``Bearer KEY`` is a secret with a secret in it; shorter words of it are none.
_MIN_WORD = 12


class SecretScrubber:
    """Replaces every known secret, in text or bytes, as it is and as JSON and URLs spell it.

    Longer secrets first, so none leaves a tail. One pass per secret of the interpreter's own
    substring search: an alternation of all of them would be tried at every position.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets: list[tuple[str, bytes]] = []
        self._known: set[str] = set()
        self.learn(*secrets)

    def learn(self, *secrets: str) -> None:
        """Know more secrets from now on."""
        words = (word for secret in secrets for word in secret.split() if len(word) >= _MIN_WORD)
        known = len(self._known)
        for secret in (*secrets, *words):
            if len(secret) >= _MIN_LENGTH:
                self._known |= {secret, json.dumps(secret)[1:-1], quote(secret, safe=""), secret.replace("/", "\\/")}
        if len(self._known) != known:
            self._secrets = [(s, s.encode()) for s in sorted(self._known, key=lambda s: (-len(s), s))]

    def occurs(self, value: bytes) -> bool:
        return any(secret in value for _, secret in self._secrets)

    def value(self, value: Any) -> Any:
        """Every string of a JSON value, names of fields included."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(name): self.value(inner) for name, inner in value.items()}
        return [self.value(inner) for inner in value] if isinstance(value, list | tuple) else value

    def text(self, value: str) -> str:
        for secret, _ in self._secrets:
            if secret in value:
                value = value.replace(secret, MASK)
        return value

    def bytes(self, value: bytes) -> bytes:
        for _, secret in self._secrets:
            if secret in value:
                value = value.replace(secret, MASK.encode())
        return value


class Redaction:
    """The chain of redactors. Without any there is nothing that may see bodies or headers."""

    def __init__(self, redactors: Sequence[Redactor]) -> None:
        self._redactors = redactors
        self._complained: set[tuple[str, type[BaseException]]] = set()
        self.failures = 0

    @property
    def installed(self) -> bool:
        return bool(self._redactors)

    def apply(self, record: JsonObject) -> JsonObject | None:
        """The cleaned record; ``None`` if a redactor failed, and then nothing of it may be kept."""
        for redactor in self._redactors:
            try:
                record = redactor.redact(record)
            except Exception as error:  # a redactor may fail in any way; it must not open a way past itself
                self._complain(redactor.name, error)
                return None
        return record

    def text(self, text: str) -> str:
        """A line for the program log."""
        if not self._redactors:
            return text
        cleaned = self.apply({"text": text})
        kept = cleaned.get("text") if cleaned is not None else None
        return kept if isinstance(kept, str) else "[withheld: a redactor failed]"

    def words(self, text: str) -> str:
        """What may be kept of somebody's words: nothing that no redactor has seen."""
        return self.text(text) if self._redactors else ""

    def _complain(self, name: str, error: Exception) -> None:
        self.failures += 1
        cause = (name, type(error))
        if cause not in self._complained:
            self._complained.add(cause)
            log.error(
                "redactor %s failed (%s); what it was given is not kept, and this is not repeated",
                name,
                type(error).__name__,
            )
