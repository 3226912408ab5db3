"""How much to think, in each family's own terms. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from proxy_core import BadRequest, JsonObject, ReasoningOptions
from proxy_plugin_anthropic.dialect.families import Family

_BUDGETS: Mapping[str, int] = {
    "minimal": 1_024,
    "low": 4_096,
    "medium": 10_240,
    "high": 24_576,
    "xhigh": 32_768,
    "max": 32_768,
}
#: Up to which budget an effort is meant.
_EFFORTS = ((4_096, "low"), (16_384, "medium"))
_LEAST = 1_024


def thinking_of(
    family: Family, wanted: ReasoningOptions | None, max_tokens: int
) -> tuple[JsonObject | None, str | None]:
    """``thinking`` and ``output_config.effort``; ``None`` leaves them out, which turns thinking off.

    Raises ``BadRequest`` for an effort that is no word of any format.
    """
    asked = wanted.effort if wanted is not None else None
    if asked is not None and asked not in ("none", *_BUDGETS):
        what = f"'reasoning_effort' {asked[:100]!r} is not known."
        raise BadRequest(what, param="reasoning_effort", code="invalid_value")
    if wanted is None or wanted.mode == "off" or wanted.effort == "none" or family.thinking == "none":
        return None, None
    shown = wanted.include is not False
    if family.thinking == "adaptive":
        # Newer models show nothing of it unless they are asked.
        display = {"display": "summarized"} if shown and not family.sampling else {}
        return {"type": "adaptive", **display}, _effort(family, wanted)
    budget = wanted.budget_tokens
    if budget is None:
        budget = _BUDGETS.get(wanted.effort or "medium", _BUDGETS["medium"])
    # The limit includes the thoughts: leave at least a quarter of it for the answer.
    budget = min(max(budget, _LEAST), max_tokens * 3 // 4)
    return ({"type": "enabled", "budget_tokens": budget} if budget >= _LEAST else None), None


def _effort(family: Family, wanted: ReasoningOptions) -> str | None:
    effort = wanted.effort
    if effort is None and wanted.budget_tokens is not None:
        budget = wanted.budget_tokens
        effort = next((name for most, name in _EFFORTS if 0 <= budget <= most), "high")
    if effort is None:
        return None
    if effort in family.efforts:
        return effort
    return "low" if effort == "minimal" else "high" if effort in ("xhigh", "max") else "medium"
