"""Generations of models: what each takes and refuses. A table by version, as names promise no more than that.

Source: the API's own 400s; docs of the API, "Adaptive thinking", "Effort", "Structured outputs", "Models overview".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

from msgspec import Struct

_VERSION = re.compile(r"claude-(?:[a-z]+-)?(\d{1,2})(?!\d)(?:[-.](\d{1,2})(?!\d))?")


class Family(Struct, frozen=True, kw_only=True):
    """``thinking``: with a budget of tokens, or as much as the model likes, steered by one of the ``efforts``.

    ``sampling``: takes ``temperature`` and its kin, of which ``one_sampler`` takes only one. ``formats``: can be held
    to a JSON Schema; if not, ``answers_by_tool``: it can be made to call a tool with its answer. ``max_tokens`` is what
    every model of the family can write.
    """

    max_tokens: int
    thinking: Literal["none", "budget", "adaptive"] = "budget"
    efforts: Sequence[str] = ()
    sampling: bool = True
    one_sampler: bool = True
    formats: bool = False
    answers_by_tool: bool = False


_OTHERS = Family(max_tokens=8_192, one_sampler=False)
#: The first version of each family, newest first.
_FAMILIES: Sequence[tuple[tuple[int, int], Family]] = (
    (
        (4, 7),
        Family(
            max_tokens=64_000,
            thinking="adaptive",
            efforts=("low", "medium", "high", "xhigh", "max"),
            sampling=False,
            formats=True,
        ),
    ),
    ((4, 6), Family(max_tokens=64_000, thinking="adaptive", efforts=("low", "medium", "high"), formats=True)),
    ((4, 5), Family(max_tokens=64_000, formats=True)),
    ((4, 0), Family(max_tokens=32_000, answers_by_tool=True)),
    ((3, 7), Family(max_tokens=64_000, answers_by_tool=True)),
    ((3, 5), Family(max_tokens=8_192, thinking="none", answers_by_tool=True)),
    ((3, 0), Family(max_tokens=4_096, thinking="none", answers_by_tool=True)),
    ((0, 0), Family(max_tokens=4_096, thinking="none")),
)


@lru_cache(maxsize=256)
def family_of(model: str) -> Family:
    """Servers of other vendors that speak this format have models of their own."""
    match = _VERSION.search(model.lower())
    if match is None:
        return _OTHERS
    version = (int(match[1]), int(match[2] or 0))
    return next(family for first, family in _FAMILIES if version >= first)
