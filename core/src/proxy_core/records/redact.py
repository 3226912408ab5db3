"""Removes secrets from everything that is written: always our own, and others by redactors."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any
from urllib.parse import quote

from proxy_core.interfaces import Redactor
from proxy_core.messages import JsonObject

MASK = "[redacted]"
WITHHELD = "[withheld: a redactor failed]"
#: Shorter ones ("local", "none") are words of ordinary lines: replacing them would show which word is the key.
#: It is also enough that ordinary text does not contain the beginning of a secret.
MIN_LENGTH = 8
#: Prefixes are searched for instead of secrets if, on average, at least so many begin alike.
_ALIKE = 8
#: ``Bearer KEY`` contains another secret, KEY; shorter words in a secret do not count.
_MIN_WORD = 12
#: What need not be escaped in a query, and often is not.
_PLAIN_IN_QUERY = "/?:@!$'()*,;"


def spellings(secret: str) -> set[str]:
    """``secret`` as it is, in JSON, and in a URL, whose escapes may be written in either case."""
    in_json = json.dumps(secret)[1:-1]
    in_html = re.sub("[<>&]", lambda char: f"\\u{ord(char[0]):04x}", in_json)  # Go writes JSON that is safe in HTML
    in_url = {quote(secret, safe=safe) for safe in ("", "/", _PLAIN_IN_QUERY)}
    in_url |= {text.replace("%20", "+") for text in in_url}
    lower = {re.sub("%..", lambda escape: escape[0].lower(), text) for text in in_url}
    return {secret, in_json, in_html, secret.replace("/", "\\/"), *in_url, *lower}


def _common_prefixes(secrets: Collection[str]) -> frozenset[str] | None:
    """The longest ones that many share; ``None`` if the secrets have little in common."""
    for length in range(MIN_LENGTH, 2, -1):
        prefixes = frozenset(secret[:length] for secret in secrets)
        if len(prefixes) * _ALIKE <= len(secrets):
            return prefixes
    return None


class SecretScrubber:
    """Replaces every known secret in text or bytes, also in its JSON and URL encodings.

    Longer secrets go first, so that none leaves a tail. It runs the interpreter's substring search once
    per secret, because a regular expression of all secrets would be tried at every position. Many secrets are
    not searched for if none may begin in the text: a vendor's keys begin alike, and a log line is short.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets: list[tuple[str, bytes]] = []
        self._known: set[str] = set()
        self._beginnings: set[tuple[str, ...]] = set()
        self._prefixes: frozenset[str] | None = None
        self.learn(*secrets)

    def learn(self, *secrets: str) -> None:
        """Add secrets."""
        words = (word for secret in secrets for word in secret.split() if len(word) >= _MIN_WORD)
        known = len(self._known)
        for secret in (*secrets, *words):
            if len(secret) >= MIN_LENGTH:
                self._known |= spellings(secret)
        if len(self._known) != known:
            self._secrets = [(s, s.encode()) for s in sorted(self._known, key=lambda s: (-len(s), s))]
            self._beginnings = {tuple(secret[:MIN_LENGTH]) for secret in self._known}
            self._prefixes = _common_prefixes(self._known)

    def occurs(self, value: bytes) -> bool:
        return any(secret in value for _, secret in self._secrets)

    def value(self, value: Any) -> Any:
        """A JSON value with secrets removed from every string, including field names."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(name): self.value(inner) for name, inner in value.items()}
        return [self.value(inner) for inner in value] if isinstance(value, list | tuple) else value

    def text(self, value: str) -> str:
        secrets, prefixes = len(self._secrets), self._prefixes
        if prefixes is not None and not any(prefix in value for prefix in prefixes):
            return value
        if len(value) < secrets and not self._begins_in(value):
            return value
        for secret, _ in self._secrets:
            if secret in value:
                value = value.replace(secret, MASK)
        return value

    def _begins_in(self, value: str) -> bool:
        """Whether a secret may begin in ``value``, at a cost that does not depend on how many there are."""
        shifted = (value[start:] for start in range(MIN_LENGTH))
        return not self._beginnings.isdisjoint(zip(*shifted, strict=False))

    def bytes(self, value: bytes) -> bytes:
        for _, secret in self._secrets:
            if secret in value:
                value = value.replace(secret, MASK.encode())
        return value


class Redaction:
    """The chain of redactors. Without any, bodies and headers must not be written."""

    def __init__(self, redactors: Sequence[Redactor]) -> None:
        self._redactors = redactors
        self.failures = 0

    @property
    def installed(self) -> bool:
        return bool(self._redactors)

    def apply(self, record: JsonObject) -> JsonObject | None:
        """The cleaned record, or ``None`` if a redactor failed; then nothing of it may be kept."""
        for redactor in self._redactors:
            try:
                record = redactor.redact(record)
            except Exception:  # a redactor may fail in any way, which has been logged; nothing may bypass it then
                self.failures += 1
                return None
        return record

    def text(self, text: str) -> str:
        """Clean a line for the program log."""
        if not self._redactors:
            return text
        cleaned = self.apply({"text": text})
        kept = cleaned.get("text") if cleaned is not None else None
        return kept if isinstance(kept, str) else WITHHELD

    def words(self, text: str) -> str:
        """Clean the text of a client or an upstream; without a redactor, nothing of it may be kept."""
        return self.text(text) if self._redactors else ""
