"""Whether a request has the types that its format documents, and its fields' names in the words of that format.

A request that is relayed is the upstream's to judge. Before it is translated, nothing of a wrong type may be taken
for something else, or be left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from proxy_core.dialects.common import wrong_type
from proxy_core.errors import BadRequest, ProxyError
from proxy_core.messages import JsonObject

__all__ = ["check_shape", "many", "shape", "with_names"]

#: What msgspec says of a value: the problem, and where it is.
_PROBLEM = re.compile(r"(?P<what>.*?)(?: - at `\$\.?(?P<at>.*)`)?", re.DOTALL)
_EXPECTED = re.compile(r"Expected `(?P<wanted>[^`]*)`, got `[^`]*`")
_UNKNOWN = re.compile(r"Invalid enum value (?P<value>.*)", re.DOTALL)
_WORDS = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "a boolean",
    "array": "an array",
    "object": "an object",
}
_INDEX = re.compile(r"\[(\d+)\]")
_QUOTED = re.compile(r"'([a-z_]+)(?=['.\[])")
_MUST = " must be "
_FIRST = re.compile(r"[a-z_]+")


def shape(**members: Any) -> Any:
    """An object whose members have these types, where they are present and not null. Others may be anything."""
    return msgspec.defstruct("Shape", [(name, kind | None, None) for name, kind in members.items()])


def many(kind: Any) -> Any:
    """A list of these."""
    return list[kind]


def check_shape(body: JsonObject, wanted: Any, *, dotted: bool = False) -> None:
    """Raise ``BadRequest`` naming the first member that is of another type than ``wanted`` has.

    ``dotted``: places in arrays are written ``a.0`` instead of ``a[0]``.
    """
    try:
        msgspec.convert(body, wanted)
    except msgspec.ValidationError as error:
        raise _bad_request(str(error), dotted) from None
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can express, where a word should be
        raise BadRequest("A word in the request is not valid Unicode.", code="invalid_value") from None


def _bad_request(problem: str, dotted: bool) -> BadRequest:
    found = _PROBLEM.fullmatch(problem)
    what, at = (found["what"], found["at"] or "") if found is not None else (problem, "")
    at = _INDEX.sub(r".\1", at.replace("[...]", "")) if dotted else at.replace("[...]", "")
    if unknown := _UNKNOWN.fullmatch(what):
        return BadRequest(f"{at!r} {unknown['value'][:100]} is not known.", param=at, code="invalid_value")
    expected = _EXPECTED.fullmatch(what)
    kinds = expected["wanted"].split(" | ") if expected is not None else [what]
    if "float" in kinds and "int" in kinds:
        kinds.remove("int")
    return wrong_type(at, " or ".join(_WORDS.get(kind, kind) for kind in kinds if kind != "null"))


def named(field: str, names: Mapping[str, str]) -> str:
    """A field by a format's own name; what is inside it keeps its name."""
    return _FIRST.sub(lambda found: names.get(found[0], found[0]), field, count=1) if names else field


def with_names(error: ProxyError, names: Mapping[str, str]) -> tuple[str, str | None]:
    """The message and the field of an error, in a format's own words: ``names`` are those that differ from OpenAI's.

    What is inside a field keeps its name, a value that is wanted its spelling, and an upstream's message its words.
    """

    message = error.message
    if isinstance(error, BadRequest):
        field, must, wanted = message.partition(_MUST if error.code == "invalid_type" else "\0")
        message = _QUOTED.sub(lambda quoted: f"'{names.get(quoted[1], quoted[1])}", field) + must + wanted
    return message, error.param if error.param is None else named(error.param, names)
