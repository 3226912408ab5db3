"""``options`` of a model: fields of Gemini's request that are filled in where the client leaves them out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from proxy_core import JsonObject, ProviderSettings, SettingsError
from proxy_plugin_gemini.dialect.common import snake

CHAT_OPTIONS = frozenset(
    "systemInstruction cachedContent tools toolConfig labels safetySettings generationConfig".split()
)
VECTOR_OPTIONS = frozenset("taskType title outputDimensionality autoTruncate".split())
#: Filled in field by field; anything else is the client's own or the option's, whole.
_DEEP = frozenset({"generationConfig", "thinkingConfig"})
#: Of each group the client's choice stands alone: two together are a 400, or mean something else.
_GROUPS = (
    frozenset({"thinkingBudget", "thinkingLevel"}),
    frozenset({"responseMimeType", "responseSchema", "responseJsonSchema"}),
)


def check_options(name: str, provider: ProviderSettings, known: Collection[str]) -> None:
    """Raise ``SettingsError`` for an option that Gemini has no field for: else every request would be a 400."""
    fields = ", ".join(sorted(known))
    wrong = [
        f"providers.{name}.models.{model}.options: Gemini's request has no field {key!r}; it has {fields}"
        for model, about in provider.models.items()
        for key in about.options
        if key not in known
    ]
    if wrong:
        raise SettingsError(wrong)


def filled(body: Mapping[str, Any], options: Mapping[str, Any]) -> JsonObject:
    """``body`` with what it leaves out, in either spelling. Neither is changed."""
    out = dict(body)
    for name, value in options.items():
        own = name if name in body else snake(name)
        if own not in body:
            if not any(_said(body, other) for group in _GROUPS if name in group for other in group):
                out[name] = value
        elif name in _DEEP and isinstance(body[own], Mapping) and isinstance(value, Mapping):
            out[own] = filled(body[own], value)
    return out


def relayed(body: Mapping[str, Any], options: Mapping[str, Any]) -> JsonObject:
    """A Gemini client's body, over which the core has laid ``options`` by their own spelling alone."""
    own = {k: v for k, v in body.items() if not (k in options and snake(k) != k and snake(k) in body)}
    return filled(own, options)


def _said(body: Mapping[str, Any], name: str) -> bool:
    return name in body or snake(name) in body
