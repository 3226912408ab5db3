"""One picture of each proxy as plain text: for scripts, and without a terminal."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from shutil import get_terminal_size

import click

from proxy_plugin_top.frame import Line, Reading, accounts, fitted, heading, plain, requests
from proxy_plugin_top.sources import Source, Unreadable

_REQUESTS = 10
#: The layout where nothing says how wide it is; then no line is cut.
_USUAL = 120
#: What an output that knows only ASCII shows instead.
_ASCII = str.maketrans({"█": "#", "░": ".", "●": "+", "◐": "~", "○": "!", "…": "~"})
_EMPTY: Line = ()


async def print_once(sources: Sequence[Source]) -> int:
    """Print a picture of each; the exit code is 1 if one of them cannot be read."""
    width = get_terminal_size().columns if sys.stdout.isatty() else None
    found = await asyncio.gather(*map(_reading, sources))
    for source, reading in zip(sources, found, strict=True):
        await source.aclose()
        text = f"{source.name}: {reading}" if isinstance(reading, str) else plain(_picture(source, reading, width))
        click.echo(encodable(f"{text}\n", sys.stdout.encoding or "utf-8"))
    return int(any(isinstance(reading, str) for reading in found))


async def _reading(source: Source) -> Reading | str:
    try:
        return await source.read()
    except Unreadable as error:
        return str(error)


def _picture(source: Source, reading: Reading, width: int | None) -> Iterator[Line]:
    below = (accounts(reading, width or _USUAL), requests(reading, _REQUESTS, width or _USUAL))
    parts: list[Iterable[Line]] = [part if width is None else fitted(part, width) for part in below]
    return chain(heading(source.name, reading), *chain.from_iterable(((_EMPTY,), part) for part in parts))


def encodable(text: str, encoding: str) -> str:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_ASCII).encode(encoding, "replace").decode(encoding)
    return text
