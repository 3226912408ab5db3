"""Other makers' signed thoughts, as ``thoughtSignature``: the only opaque string that Gemini's clients send back.

It is base64, as clients insist on that. Their signatures are valid for exactly one text, which clients leave out of
the history, so the text is sealed together with the signature.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from proxy_core import JsonObject, Opaque, Reasoning, pair_bytes, read_pair, seal, unseal
from proxy_plugin_gemini.dialect.common import MAKER, NO_SIGNATURE, field

#: How every seal begins in base64.
_BEGIN = "cHJveHkxL"
_BESIDE = frozenset({"text", "thought", "thoughtSignature", "thought_signature"})


def says_nothing(part: Mapping[str, Any]) -> bool:
    """A signature by itself, or nothing at all: Gemini CLI leaves out the empty text beside which a signature came."""
    return not part.get("text") and part.keys() <= _BESIDE


def seal_thought(text: str, opaque: Opaque) -> str:
    both = Opaque(maker=opaque.maker, payload=pair_bytes(text, opaque.payload).decode())
    return base64.b64encode(seal(both, MAKER).encode()).decode()


def unseal_thought(signature: str) -> Reasoning | None:
    """The thought in a signature; ``None`` for one of Google's, an empty one for a damaged seal."""
    if not signature.startswith(_BEGIN):
        return None
    try:
        opaque = unseal(base64.b64decode(signature.replace("-", "+").replace("_", "/")).decode(), MAKER)
        text, payload = read_pair(opaque.payload.encode())
    except (binascii.Error, ValueError):
        return Reasoning()
    return Reasoning(text=text, opaque=Opaque(maker=opaque.maker, payload=payload))


def without_sealed(body: JsonObject) -> JsonObject:
    """A body that Google accepts; the same object if it has only Google's own signatures."""
    contents = body.get("contents")
    if not isinstance(contents, list) or not any(_sealed(part) for content in contents for part in _parts(content)):
        return body
    kept = []
    for content in contents:
        found = _parts(content)
        parts = [own for part in found if (own := _own(part) if _sealed(part) else part) is not None]
        if parts == found:
            kept.append(content)
        elif parts:
            kept.append({**content, "parts": parts})
    return {**body, "contents": kept}


def _own(part: Mapping[str, Any]) -> JsonObject | None:
    """The part without the seal. A call says that its signature is lost; a signature by itself is left out."""
    rest = {name: value for name, value in part.items() if name not in ("thoughtSignature", "thought_signature")}
    if isinstance(field(part, "functionCall"), Mapping):
        return {**rest, "thoughtSignature": NO_SIGNATURE}
    return None if says_nothing(rest) else rest


def _sealed(part: Any) -> bool:
    signature = field(part, "thoughtSignature") if isinstance(part, Mapping) else None
    return isinstance(signature, str) and signature.startswith(_BEGIN)


def _parts(content: Any) -> list[Any]:
    found = content.get("parts") if isinstance(content, Mapping) else None
    return found if isinstance(found, list) else []
