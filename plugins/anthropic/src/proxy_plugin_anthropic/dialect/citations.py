"""Sources of another format's response as citations of this one, and which of a client's citations are such."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy_core import Citation, JsonObject, Opaque, is_sealed, seal
from proxy_plugin_anthropic.dialect.common import MAKER

_OPENAI = "openai_chat"
#: Anthropic's own is a pointer to a search result that its servers made. They refuse any other.
_NO_INDEX = seal(Opaque(maker="", payload=""), MAKER)


def foreign_citation(event: Citation) -> JsonObject | None:
    """A page, for the block of text that it supports; its own words are not known."""
    match event.payload:
        case {"type": "url_citation", "url_citation": {"url": str(url), **about}} if event.dialect == _OPENAI:
            location = {"type": "web_search_result_location", "url": url, "title": str(about.get("title") or "")}
            return {**location, "cited_text": "", "encrypted_index": _NO_INDEX}
        case _:
            return None


def is_foreign_citation(citation: Any) -> bool:
    return isinstance(citation, Mapping) and is_sealed(citation.get("encrypted_index"))


def without_foreign_citations(block: Any) -> Any:
    """A block of text that the API accepts; the same object if it has only Anthropic's own citations, or none."""
    found = block.get("citations") if isinstance(block, Mapping) else None
    if not isinstance(found, list) or not any(map(is_foreign_citation, found)):
        return block
    own = [citation for citation in found if not is_foreign_citation(citation)]
    rest = {name: value for name, value in block.items() if name != "citations"}
    return {**rest, "citations": own} if own else rest
