"""tiktoken's encodings: the name and hash of each encoding's file, and how it splits text.

Source: github.com/openai/tiktoken, ``tiktoken_ext/openai_public.py``; MIT. Its functions download
missing files, so the patterns are copied here; a test compares them with the installed tiktoken's.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct


class Encoding(Struct, frozen=True, kw_only=True):
    """``file`` is the name of the file in tiktoken's cache, the SHA-1 of its URL; ``sha256`` is that of its bytes."""

    name: str
    file: str
    sha256: str
    pattern: str


_O200K = "|".join(
    [
        r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
        r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
        r"""\p{N}{1,3}""",
        r""" ?[^\s\p{L}\p{N}]+[\r\n/]*""",
        r"""\s*[\r\n]+""",
        r"""\s+(?!\S)""",
        r"""\s+""",
    ]
)
_CL100K = (
    r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"""
    r"""|\s++$|\s*[\r\n]|\s+(?!\S)|\s"""
)

ENCODINGS: Mapping[str, Encoding] = {
    "o200k_base": Encoding(
        name="o200k_base",
        file="fb374d419588a4632f3f557e76b4b70aebbca790",
        sha256="446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        pattern=_O200K,
    ),
    "cl100k_base": Encoding(
        name="cl100k_base",
        file="9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
        sha256="223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        pattern=_CL100K,
    ),
}
