"""Responses that are kept: what of them, and how a later request continues one. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import Struct, json

from proxy_core import BadRequest, JsonObject
from proxy_core.dialects.common import json_bytes, load_object

#: What a response may be kept under.
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,200}")


class Stored(Struct, frozen=True):
    """A response, and all items that led to it, those of the responses before it included."""

    response: JsonObject
    input: list[JsonObject]


_READER = json.Decoder(Stored)


def previous(body: JsonObject) -> str | None:
    """The id of the response that a request continues. Raises ``BadRequest``."""
    name = body.get("previous_response_id")
    if name is None:
        return None
    if not is_id(name):
        raise _not_found(name)
    return str(name)


def is_id(name: object) -> bool:
    return isinstance(name, str) and _ID.fullmatch(name) is not None


def resume(body: JsonObject, kept: bytes | None) -> JsonObject:
    """The body with the whole conversation. Instructions are those of the request itself."""
    if kept is None:
        raise _not_found(body["previous_response_id"])
    stored = read(kept)
    history = [*stored.input, *_returned(stored.response.get("output"))]
    known = {item.get("id") for item in history}
    own = [item for item in items(body) if item.get("type") != "item_reference" or item.get("id") not in known]
    rest = {name: given for name, given in body.items() if name not in ("previous_response_id", "input")}
    return {**rest, "input": [*history, *own]}


def value(body: JsonObject, response: bytes) -> tuple[str, bytes] | None:
    """The id of a finished response and what to keep of it; nothing, if the client does not want that."""
    if body.get("store") is False:
        return None
    found = load_object(response)
    if found is None or not is_id(found.get("id")) or found.get("status") not in ("completed", "incomplete"):
        return None
    return str(found["id"]), json_bytes({"response": found, "input": items(body)})


def read(kept: bytes) -> Stored:
    return _READER.decode(kept)


def items(body: JsonObject) -> list[JsonObject]:
    found = body.get("input")
    if isinstance(found, str):
        return [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": found}]}]
    return found if isinstance(found, list) else []


def _returned(output: object) -> Iterator[JsonObject]:
    """What the model may be told again: without its encrypted content, reasoning means nothing to another account."""
    for item in output if isinstance(output, list) else ():
        if isinstance(item, dict) and (item.get("type") != "reasoning" or item.get("encrypted_content")):
            yield item


def _not_found(name: object) -> BadRequest:
    return BadRequest(
        f"Previous response with id {name!r} not found.",
        param="previous_response_id",
        code="previous_response_not_found",
    )
