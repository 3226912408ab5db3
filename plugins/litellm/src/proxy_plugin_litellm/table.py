"""litellm's table of models, read from its file without importing litellm, and reduced to what the core uses.

``model_prices_and_context_window_backup.json`` is one object: ``{"<provider>/<model>" or "<model>":
{"litellm_provider": str, "mode": str, "max_input_tokens": int, "input_cost_per_token": US dollars,
"supports_<word>": bool, ...}}``; every member is optional and sometimes of another type.
Source: github.com/BerriAI/litellm, ``model_prices_and_context_window.json``; MIT.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from proxy_core import FindModelInfo, JsonObject, ModelInfo
from proxy_plugin_litellm.names import providers_of, stem

_FILE = "model_prices_and_context_window_backup.json"
_BLANK = re.compile(r"[\s,]*")
_MILLION = 1_000_000

_CAPABILITIES = {
    f"supports_{theirs}": ours
    for theirs, ours in {
        "function_calling": "function_calling",
        "parallel_function_calling": "parallel_function_calling",
        "tool_choice": "tool_choice",
        "vision": "vision",
        "audio_input": "audio_input",
        "audio_output": "audio_output",
        "pdf_input": "pdf_input",
        "video_input": "video_input",
        "prompt_caching": "prompt_caching",
        "reasoning": "reasoning",
        "response_schema": "structured_output",
        "system_messages": "system_messages",
        "web_search": "web_search",
        "assistant_prefill": "assistant_prefill",
        "computer_use": "computer_use",
    }.items()
}
_CHAT = ("chat", "responses", "completion")
_READ = {"vision": "image", "audio_input": "audio", "video_input": "video", "pdf_input": "file"}
_WRITTEN = {
    "embedding": "embedding",
    "image_generation": "image",
    "audio_speech": "audio",
    "audio_transcription": "text",
}


_NO_PRICES = dict.fromkeys(("input_price", "output_price", "cached_price", "cache_write_price"))


def table_path() -> Path:
    """The path of the installed litellm's table. Imports nothing. Raises ``FileNotFoundError``."""
    spec = find_spec("litellm")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / _FILE
        if path.is_file():
            return path
    raise FileNotFoundError(_FILE)


@lru_cache(maxsize=1)
def load_table() -> FindModelInfo:
    """Read the table: takes a quarter of a second and keeps two megabytes. Raises ``OSError``, ``ValueError``."""
    return Table.read(table_path().read_text(encoding="utf-8")).find


def parse_table(text: str) -> FindModelInfo:
    """A table from elsewhere, in the same form. Raises ``ValueError``, also if it contains no model."""
    table = Table.read(text)
    if not table.exact:
        raise ValueError("it contains no model")
    return table.find


def entries(text: str) -> Iterator[tuple[str, JsonObject]]:
    """The members of one JSON object, one at a time, so that other threads can run in between and members that
    are not kept are freed at once. Raises ``ValueError``."""
    decode = json.JSONDecoder().raw_decode
    at = text.index("{") + 1
    while True:
        at = _after(text, at)
        if text[at : at + 1] == "}":
            return
        key, at = decode(text, at)
        if not isinstance(key, str):
            raise ValueError(f"expected a name at character {at}")
        at = text.index(":", at) + 1
        value, at = decode(text, _after(text, at))
        if isinstance(value, dict):
            yield key, value


def _after(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    return match.end() if match else at


class Table(Struct, frozen=True):
    """Model information by litellm's provider and the provider's own model id.

    ``near`` has it by :func:`stem`; ``None`` where models with the same stem differ.
    """

    exact: dict[str, dict[str, ModelInfo]] = field(default_factory=dict)
    near: dict[str, dict[str, ModelInfo | None]] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str) -> Table:
        table, shared = cls(), _Shared()
        for key, entry in entries(text):
            named = entry.get("litellm_provider")
            if isinstance(named, str) and key != "sample_spec":
                table._add(*_split(key, named), shared.model_info(entry))
        return table

    def _add(self, provider: str, model: str, info: ModelInfo) -> None:
        self.exact.setdefault(provider, {})[model] = info
        near = self.near.setdefault(provider, {})
        known = near.setdefault(stem(model), info)
        if known != info:
            near[stem(model)] = None

    def find(self, provider: str, model: str) -> ModelInfo | None:
        """Look up by the proxy's name for a provider; a model's exact name takes precedence over a near one."""
        model = model.removeprefix("models/")
        candidates = providers_of(provider)
        for name in candidates:
            info = self.exact.get(name, {}).get(model)
            if info is not None:
                return info
        for name in candidates:
            info = self.near.get(name, {}).get(stem(model))
            if info is not None:
                return info
        return self._of_vendor(candidates, model)

    def _of_vendor(self, candidates: tuple[str, ...], model: str) -> ModelInfo | None:
        """``anthropic/claude-...`` at a router: the same model, but without prices, which are the router's own."""
        vendor, slash, own = model.partition("/")
        if not slash or "openrouter" not in candidates:
            return None
        info = self.find(vendor, own)
        return replace(info, **_NO_PRICES) if info is not None else None


def _split(key: str, named: str) -> tuple[str, str]:
    """Split ``vertex_ai/claude-x`` of ``vertex_ai-anthropic_models`` into ``vertex_ai``, ``claude-x``."""
    provider = providers_of(named)[0]
    first, slash, rest = key.partition("/")
    return (provider, rest) if slash and providers_of(first)[0] == provider else (provider, key)


class _Shared:
    """Many models share the same few sets of capabilities and modalities; keeps each set only once."""

    def __init__(self) -> None:
        self._known: dict[Any, Any] = {}

    def model_info(self, entry: JsonObject) -> ModelInfo:
        stated = {ours: entry.get(theirs) for theirs, ours in _CAPABILITIES.items()}
        capabilities = {word: has for word, has in stated.items() if isinstance(has, bool)}
        mode = entry.get("mode")
        return ModelInfo(
            context_length=_tokens(entry, "max_input_tokens") or _tokens(entry, "max_tokens"),
            max_output_tokens=_tokens(entry, "max_output_tokens"),
            input_modalities=self._once(_words(entry, "supported_modalities") or _reads(mode, capabilities)),
            output_modalities=self._once(_words(entry, "supported_output_modalities") or _writes(mode)),
            capabilities=self._once_of(capabilities),
            input_price=_price(entry, "input_cost_per_token"),
            output_price=_price(entry, "output_cost_per_token"),
            cached_price=_price(entry, "cache_read_input_token_cost"),
            cache_write_price=_price(entry, "cache_creation_input_token_cost"),
        )

    def _once(self, words: tuple[str, ...]) -> tuple[str, ...] | None:
        return self._known.setdefault(words, words) if words else None

    def _once_of(self, capabilities: dict[str, bool]) -> Mapping[str, bool] | None:
        return self._known.setdefault(tuple(capabilities.items()), capabilities) if capabilities else None


def _tokens(entry: JsonObject, key: str) -> int | None:
    found = entry.get(key)
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else None


def _price(entry: JsonObject, key: str) -> float | None:
    found = entry.get(key)
    known = isinstance(found, int | float) and not isinstance(found, bool) and found >= 0
    return round(found * _MILLION, 9) if known and found is not None else None


def _words(entry: JsonObject, key: str) -> tuple[str, ...]:
    found = entry.get(key)
    return tuple(word for word in found if isinstance(word, str)) if isinstance(found, list) else ()


def _reads(mode: Any, capabilities: Mapping[str, bool]) -> tuple[str, ...]:
    if mode not in (*_CHAT, "embedding"):
        return ()
    return ("text", *(word for capability, word in _READ.items() if capabilities.get(capability)))


def _writes(mode: Any) -> tuple[str, ...]:
    word = "text" if mode in _CHAT else _WRITTEN.get(str(mode))
    return (word,) if word else ()
