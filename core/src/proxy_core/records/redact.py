"""Taking known secrets out of text. The core always does this to what it writes or repeats."""

from __future__ import annotations

import re
from collections.abc import Iterable

MASK = "[redacted]"
#: Shorter than this, replacing it would shred ordinary text instead of hiding a secret.
_MIN_LENGTH = 4


class SecretScrubber:
    """Replaces every known secret, in text or bytes. Longer secrets first, so none leaves a tail."""

    def __init__(self, secrets: Iterable[str]) -> None:
        known = sorted({s for s in secrets if len(s) >= _MIN_LENGTH}, key=len, reverse=True)
        self._text = re.compile("|".join(map(re.escape, known))) if known else None
        self._bytes = re.compile(b"|".join(re.escape(s.encode()) for s in known)) if known else None

    def text(self, value: str) -> str:
        return self._text.sub(MASK, value) if self._text else value

    def bytes(self, value: bytes) -> bytes:
        return self._bytes.sub(MASK.encode(), value) if self._bytes else value
