"""What a client says in headers and an upstream must know, as members of the body: betas and the API's version.

``read_headers`` puts them there, which makes them part of the request; ``take_headers`` takes them out again. So is
the model's name as the client wrote it, if it asks for a large context in it.
"""

from __future__ import annotations

import re

from proxy_core import JsonObject, RequestHead

_BETAS, _VERSION, _WRITTEN = "anthropic_beta", "anthropic_version", "anthropic_model"
#: How Claude Code asks for the larger context of a model, and the beta that the API has for it.
_LARGE_CONTEXT = re.compile(r"\[1m\]$", re.IGNORECASE)
_LARGE_CONTEXT_BETA = "context-1m-2025-08-07"
_BETA = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_MOST_BETAS = 64
#: The version that this format was written for; a client's own takes precedence, as its body was written for it.
VERSION = "2023-06-01"


def read_headers(head: RequestHead, body: JsonObject) -> JsonObject:
    """The body with the headers' facts; members of these names that a client wrote itself are removed."""
    model = body.get("model")
    plain = plain_name(model) if isinstance(model, str) else model
    large = plain != model
    betas = _betas(head.headers.get("anthropic-beta", ""))
    if large and _LARGE_CONTEXT_BETA not in betas:
        betas.append(_LARGE_CONTEXT_BETA)
    found = {_BETAS: betas, _VERSION: _version(head), _WRITTEN: model if large else None}
    rest = {key: value for key, value in body.items() if key not in found}
    if large:
        rest["model"] = plain
    return {**rest, **{key: value for key, value in found.items() if value}}


def plain_name(model: str) -> str:
    return _LARGE_CONTEXT.sub("", model)


def written_model(body: JsonObject) -> str:
    """The model's name as the client wrote it: some agents drop their thoughts if a response has another one."""
    name: str = body.get(_WRITTEN) or body["model"]
    return name


def take_headers(body: JsonObject) -> tuple[JsonObject, list[str], str]:
    """The body for an upstream, the betas that the client asked for, and its version of the API."""
    rest = {key: value for key, value in body.items() if key not in (_BETAS, _VERSION, _WRITTEN)}
    return rest, body.get(_BETAS, []), body.get(_VERSION, VERSION)


def _betas(header: str) -> list[str]:
    """The names in a header that are names: without duplicates, and not more than anybody needs."""
    names = dict.fromkeys(name.strip() for name in header[: _MOST_BETAS * 82].split(","))
    return [name for name in names if _BETA.fullmatch(name)][:_MOST_BETAS]


def _version(head: RequestHead) -> str | None:
    version = head.headers.get("anthropic-version", "")
    return version if _DATE.fullmatch(version) else None
