"""What is known about models: families and their deviations, and initial lists. Data; qwen-code.md sections 6 and 7."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Literal

from msgspec import Struct

from proxy_plugin_qwen_code.hosts import CODING, KIND, STUDIO, TOKEN

LOGIN_MODEL = "coder-model"
#: Ids that logins used before; the host no longer offers them (7.1).
OLD_LOGIN_MODELS = frozenset({"qwen3-coder-plus", "qwen3-coder-flash", "vision-model"})


class Family(Struct, frozen=True, kw_only=True):
    """Models (globs; the first matching family is used) and how requests to them must differ.

    ``thinking``: ``budget`` accepts ``enable_thinking`` and ``thinking_budget``, ``effort`` accepts
    ``reasoning_effort`` with its own values, ``none`` refuses all of them, ``as sent`` is another vendor's
    model, about which nothing is known. ``always``: the model cannot stop thinking. ``max_output``: tokens;
    the most the model accepts, and the value sent if the client names none (the vendor's default is far lower).
    """

    models: Sequence[str]
    thinking: Literal["budget", "effort", "none", "as sent"]
    always: bool = False
    max_output: int | None = None


FAMILIES: Sequence[Family] = (
    Family(models=(LOGIN_MODEL,), thinking="budget", max_output=65_536),
    Family(models=("qwen3-coder-*",), thinking="none", max_output=65_536),
    Family(models=("qwen3.8-max*-preview",), thinking="effort", always=True, max_output=65_536),
    Family(models=("qwen3.8-max*",), thinking="effort", max_output=65_536),
    Family(models=("qwen3*-preview", "qwen3*-thinking*"), thinking="budget", always=True, max_output=65_536),
    Family(models=("qwen3*",), thinking="budget", max_output=65_536),
    Family(models=("qwen*",), thinking="budget", max_output=32_768),
    Family(models=("*",), thinking="as sent"),
)

#: The budget for each effort that a client can name (6.4).
BUDGETS: Mapping[str, int] = {"minimal": 4096, "low": 4096, "medium": 16_384, "high": 32_768}
MOST_BUDGET = BUDGETS["high"]
#: The nearest value that the ``effort`` family accepts.
EFFORTS: Mapping[str, str] = {
    **{word: word for word in ("low", "medium", "high", "xhigh")},
    **{"minimal": "low", "max": "xhigh"},
}
OFF = frozenset({"none", "off", "disable", "disabled"})

#: These models see more of an image if the request asks for it (6.1).
HIGH_RESOLUTION = (LOGIN_MODEL, "qwen-vl*", *(f"qwen{v}-plus*" for v in ("3-vl", "3.5", "3.6", "3.7")))
#: Only these accept an object as ``metadata``; others answer 400 (6.1).
METADATA = (LOGIN_MODEL, "qwen*")

_CODING = (
    "qwen3.5-plus qwen3.6-plus qwen3.7-plus qwen3-coder-plus qwen3-coder-next qwen3-max-2026-01-23 glm-5 glm-4.7"
    " kimi-k2.5 MiniMax-M2.5"
)
_TOKEN = (
    "qwen3.6-plus qwen3.7-plus qwen3.7-max qwen3.8-max qwen3.8-max-preview qwen3.6-flash qwen3.8-flash"  # noqa: S105
    " deepseek-v4-pro deepseek-v4-flash-0731 deepseek-v3.2 kimi-k2.5 kimi-k2.6 kimi-k2.7-code glm-5 glm-5.1 glm-5.2"
    " MiniMax-M2.5"
)
_STUDIO = (
    "qwen3.6-plus qwen3.7-plus qwen3.7-max qwen3.8-max qwen3.8-flash glm-5.1 deepseek-v4-pro kimi-k3 kimi-k2.7-code"
)
#: What each plan offers, until its host has listed its models. Ids are case-sensitive.
OFFERED: Mapping[str, Sequence[str]] = {
    CODING: _CODING.split(),
    TOKEN: _TOKEN.split(),
    STUDIO: _STUDIO.split(),
    KIND: [LOGIN_MODEL],
}
#: Models that are listed but are not chat models (7.3).
NOT_CHAT = ("*image*", "*audio*", "*tts*", "*asr*", "*video*", "*embedding*", "*rerank*", "wan*")


def family_of(model: str) -> Family:
    return next(family for family in FAMILIES if matches(model, family.models))


def matches(model: str, globs: Sequence[str]) -> bool:
    return any(fnmatchcase(model.lower(), glob) for glob in globs)
