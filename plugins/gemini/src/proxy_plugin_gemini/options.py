"""A model's ``options``: defaults for fields of Gemini's request that the client leaves out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from proxy_core import JsonObject, ProviderSettings, SettingsError
from proxy_plugin_gemini.dialect.common import snake

CHAT_OPTIONS = frozenset(
    "systemInstruction cachedContent tools toolConfig labels safetySettings generationConfig".split()
)
VECTOR_OPTIONS = frozenset("taskType title outputDimensionality autoTruncate".split())
#: Objects that are filled in field by field; any other value comes whole from the client or from the option.
_DEEP = frozenset({"generationConfig", "thinkingConfig"})
#: If the client sets any field of a group, no option fills in another: together they cause a 400 or change meaning.
_GROUPS = (
    frozenset({"thinkingBudget", "thinkingLevel"}),
    frozenset({"responseMimeType", "responseSchema", "responseJsonSchema"}),
)


def check_options(name: str, provider: ProviderSettings, known: Collection[str]) -> None:
    """Raise ``SettingsError`` for an option that Gemini has no field for, because every request would get a 400."""
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
    """``body`` completed with the options that it leaves out in either spelling. Changes neither argument."""
    out = dict(body)
    for name, value in options.items():
        own = name if name in body else snake(name)
        if own not in body:
            if not any(_has(body, other) for group in _GROUPS if name in group for other in group):
                out[name] = value
        elif name in _DEEP and isinstance(body[own], Mapping) and isinstance(value, Mapping):
            out[own] = filled(body[own], value)
    return out


def relayed(body: Mapping[str, Any], options: Mapping[str, Any]) -> JsonObject:
    """A Gemini client's body. The core has filled in ``options`` by their camel-case names only; this removes those
    that the client has set in snake case."""
    own = {k: v for k, v in body.items() if not (k in options and snake(k) != k and snake(k) in body)}
    return filled(own, options)


def _has(body: Mapping[str, Any], name: str) -> bool:
    return name in body or snake(name) in body
