"""Count tokens with tokenizers that are already on disk: nothing is ever downloaded.

tiktoken itself downloads an encoding's file if it is missing or incomplete. So this module reads the
file, checks its hash, and only then gives it to tiktoken.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from proxy_core import CountTokens, TokenCount, TokenCounter
from proxy_plugin_litellm.encodings import ENCODINGS, Encoding
from proxy_plugin_litellm.tokenizers import Known, tokenizer_of

#: The tokens that OpenAI's models add around messages; published only for these families, and for text.
#: Source: OpenAI's cookbook, "How to count tokens with tiktoken", ``num_tokens_from_messages``.
_PER_MESSAGE, _PER_NAME, _PER_RESPONSE = 3, 1, 3

Encode = Callable[[str], int]


class Counter(Struct, frozen=True):
    """Keeps each tokenizer once it is loaded: some tens of megabytes each."""

    folders: Callable[[], Iterator[Path]]
    _loaded: dict[str, Encode | None] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, asked: CountTokens) -> TokenCount | None:
        known = tokenizer_of(asked.provider, asked.model)
        if known is None:
            return None
        if known.encoding is None:
            return TokenCount(tokens=None, tokenizer=known.name, note=known.note)
        encode = self._encoder(known.encoding)
        if encode is None:
            note = f"The tokenizer {known.encoding} is not on this disk, and the proxy does not download it."
            return TokenCount(tokens=None, tokenizer=known.encoding, note=note)
        if asked.text is not None:
            return _token_count(known, encode(asked.text), exact=known.sure)
        tokens, plain = count_messages(asked, encode)
        note = known.note
        if known.sure and not (plain and known.frames):
            note = "How many tokens this model adds for messages, tools and media is not known exactly."
        return _token_count(known, tokens, exact=known.sure and known.frames and plain, note=note)

    def _encoder(self, name: str) -> Encode | None:
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = self._load(name)
            return self._loaded[name]

    def _load(self, name: str) -> Encode | None:
        if name == "deepseek":
            return _of_huggingface(self.folders())
        encoding = ENCODINGS[name]
        for folder in self.folders():
            try:
                data = (folder / encoding.file).read_bytes()
            except OSError:
                continue
            if hashlib.sha256(data).hexdigest() == encoding.sha256:
                return _of_tiktoken(encoding, data)
        return None


def _token_count(known: Known, tokens: int, *, exact: bool, note: str | None = None) -> TokenCount:
    return TokenCount(
        tokens=tokens, tokenizer=known.encoding or "", exact=exact, note=known.note if note is None else note
    )


def count_messages(asked: CountTokens, encode: Encode) -> tuple[int, bool]:
    """The number of tokens, and whether everything was plain text, whose count is exact."""
    total, plain = _PER_RESPONSE, not asked.tools
    for message in asked.messages:
        total += _PER_MESSAGE
        for name, value in message.items():
            if isinstance(value, str):
                total += encode(value) + (_PER_NAME if name == "name" else 0)
                plain = plain and name in ("role", "content", "name")
            elif name == "content" and isinstance(value, list):
                tokens, text_only = _parts(value, encode)
                total, plain = total + tokens, plain and text_only and len(value) == 1
            elif value is not None:
                total, plain = total + encode(_json(value)), False
    return total + sum(encode(_json(tool)) for tool in asked.tools), plain


def _parts(parts: list[Any], encode: Encode) -> tuple[int, bool]:
    total, text_only = 0, True
    for part in parts:
        text = part.get("text") if isinstance(part, dict) else None
        if isinstance(text, str):
            total += encode(text)
        else:  # its number of tokens does not follow from its bytes
            total, text_only = total + _PER_MEDIA, False
    return total, text_only


#: The same value as in the core's estimate.
_PER_MEDIA = 1_000


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def token_folders() -> Iterator[Path]:
    """tiktoken's download cache, then litellm's own files. Imports neither library."""
    for name in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
        if os.environ.get(name):
            yield Path(os.environ[name])
    spec = find_spec("litellm")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(folder) / "litellm_core_utils" / "tokenizers"


def _of_tiktoken(encoding: Encoding, data: bytes) -> Encode:
    lines = (line.split() for line in data.splitlines() if line)
    ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    tiktoken = import_module("tiktoken")
    made = tiktoken.Encoding(encoding.name, pat_str=encoding.pattern, mergeable_ranks=ranks, special_tokens={})
    return lambda text: len(made.encode_ordinary(text))


def _of_huggingface(folders: Iterator[Path]) -> Encode | None:
    for folder in folders:
        path = folder / "deepseek_tokenizer.json"
        if path.is_file():
            made = import_module("tokenizers").Tokenizer.from_file(str(path))
            return lambda text: len(made.encode(text, add_special_tokens=False).ids)
    return None


@lru_cache(maxsize=1)
def counter() -> TokenCounter:
    """One counter per process, so that a reload does not load the tokenizers again."""
    return TokenCounter(name="litellm", count=Counter(token_folders).count)
