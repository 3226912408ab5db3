"""What each family of Gemini models accepts, as data: thinking, penalties, formats together with tools.

Source: ai.google.dev, "Thinking" and "Generate content"; gemini-cli 0.61 ``config/models.ts``. As of November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct, field

from proxy_core import BadRequest, JsonObject, ReasoningOptions
from proxy_core.dialects.common import without_none

_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


class Family(Struct, frozen=True, kw_only=True):
    """``budgets`` or ``levels`` by effort; if both are empty, the family cannot think. ``least`` and ``most`` limit a
    budget."""

    budgets: Mapping[str, int] = field(default_factory=dict)
    levels: Mapping[str, str] = field(default_factory=dict)
    least: int = 0
    most: int = 0
    #: Thinking can be turned off.
    can_stop: bool = False
    penalties: bool = False
    logprobs: bool = False
    candidates: bool = False
    #: A response format is accepted together with functions.
    format_with_tools: bool = False
    #: The model's own calls are accepted in the history only with their signatures.
    signs_calls: bool = False
    #: ``functionResponse`` may hold media.
    media_results: bool = False
    #: There is a system instruction; without it, the user's first message begins with its text.
    has_system: bool = True


def _budgets(off: int, high: int, most: int) -> dict[str, int]:
    return dict(zip(_EFFORTS, (off, 1024, 1024, 8192, high, most, most), strict=True))


def _levels(none: str, minimal: str, low: str, medium: str) -> Family:
    levels = dict(zip(_EFFORTS, (none, minimal, low, medium, "HIGH", "HIGH", "HIGH"), strict=True))
    return Family(levels=levels, format_with_tools=True, signs_calls=True, media_results=True)


_FULL = _levels("MINIMAL", "MINIMAL", "LOW", "MEDIUM")
_NO_MINIMAL = _levels("LOW", "LOW", "LOW", "MEDIUM")
_PLAIN = Family(penalties=True, logprobs=True, candidates=True)
_GEMMA = Family(penalties=True, logprobs=True, candidates=True, has_system=False)
_DRAWS = Family(candidates=True)

#: The first match is used, so specific patterns come before general ones.
_TABLE: tuple[tuple[re.Pattern[str], Family], ...] = tuple(
    (re.compile(pattern), family)
    for pattern, family in (
        (r"gemma", _GEMMA),
        (r"embedding|learnlm", _PLAIN),
        (r"-(image|tts)\b", _DRAWS),
        (r"gemini-(1\.|2\.0|pro\b|pro-vision)", _PLAIN),
        (
            r"gemini-2\.5-flash-lite",
            Family(budgets=_budgets(0, 24576, 24576), least=512, most=24576, can_stop=True),
        ),
        (r"gemini-2\.5-flash", Family(budgets=_budgets(0, 24576, 24576), least=1, most=24576, can_stop=True)),
        (r"gemini-2\.5", Family(budgets=_budgets(128, 24576, 32768), least=128, most=32768)),
        (r"gemini-3-pro", _levels("LOW", "LOW", "LOW", "HIGH")),
        (r"gemini-3\.1-pro", _NO_MINIMAL),
        (r"gemini-3(\.[15])?-flash-lite", _FULL),
        (r"gemini-3(\.[56])?-flash", _FULL),
        (r"gemini-([3-9]|\d\d)", _NO_MINIMAL),
    )
)
_UNKNOWN = Family(penalties=True, logprobs=True, candidates=True, format_with_tools=True)


def family_of(model: str) -> Family:
    """The family of an upstream model. For an unknown id, everything that the client sends is passed on."""
    name = model.rpartition("/")[2].lower()
    return next((family for pattern, family in _TABLE if pattern.search(name)), _UNKNOWN)


def thinking(family: Family, wanted: ReasoningOptions | None) -> JsonObject | None:
    """``thinkingConfig``; ``None`` for models that cannot think.

    Raises ``BadRequest`` for an unknown effort. For a model with levels, a budget becomes a level.
    """
    if not (family.budgets or family.levels):
        return None
    wanted = wanted or ReasoningOptions()
    effort = "none" if wanted.mode == "off" else wanted.effort
    if effort is not None and effort not in _EFFORTS:
        raise BadRequest(f"'reasoning_effort' {effort!r} is not known.", param="reasoning_effort", code="invalid_value")
    budget, level = None, None
    if family.budgets:
        budget = _budget(family, wanted.budget_tokens) if wanted.budget_tokens is not None else None
        if budget is None and effort is not None:
            budget = family.budgets[effort]
        if budget is None and wanted.mode == "adaptive":
            budget = -1
    else:
        if effort is None and wanted.budget_tokens is not None:
            effort = _effort(wanted.budget_tokens)
        level = family.levels[effort] if effort is not None else None
    include = budget != 0 and wanted.include is not False
    return without_none(includeThoughts=include, thinkingBudget=budget, thinkingLevel=level)


def _budget(family: Family, tokens: int) -> int:
    if tokens < 0:
        return -1
    if tokens == 0 and family.can_stop:
        return 0
    return min(max(tokens, family.least), family.most)


def _effort(tokens: int) -> str | None:
    """A budget as an effort; the bounds are those used for Anthropic's and OpenAI's efforts."""
    if tokens < 0:
        return None
    if tokens == 0:
        return "none"
    return "low" if tokens <= 4096 else "medium" if tokens <= 16384 else "high"
