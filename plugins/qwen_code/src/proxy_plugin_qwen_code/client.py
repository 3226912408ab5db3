"""The OAuth client that logins belong to. It belongs to the vendor, so this package does not contain it.

It comes from the settings, from the credential itself, or from the Qwen Code installed on this
machine, where it is found by the name of its constant, wherever the package keeps it.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

#: ``QWEN_OAUTH_CLIENT_ID = "…"`` in source and unminified builds; next to the token address in others.
_NAMED = re.compile(rb"QWEN_OAUTH_CLIENT_ID\s*[=:]\s*[\"'`]([0-9a-zA-Z_-]{16,128})[\"'`]")
_NEAR = re.compile(rb"/api/v1/oauth2/token[^\n]{0,400}?[\"'`]([0-9a-f]{32})[\"'`]", re.S)
_PACKAGE = Path("@qwen-code") / "qwen-code"
_MOST_BYTES = 64 * 1024 * 1024
_MOST_FILES = 4000

MISSING = (
    "no OAuth client id found: install Qwen Code (npm install -g @qwen-code/qwen-code), from which it is read, or set"
    " [plugins.qwen_code] client_id (PROXY_PLUGINS__QWEN_CODE__CLIENT_ID)"
)


class NoClient(Exception):
    """No source names an OAuth client."""

    def __init__(self) -> None:
        super().__init__(MISSING)


def installed_client(command: str = "qwen") -> str:
    """The client id in the installed Qwen Code. Reads files: call it in a thread. Raises ``NoClient``."""
    found = shutil.which(command)
    for file in _sources(Path(os.path.realpath(found))) if found else ():
        try:
            if file.stat().st_size > _MOST_BYTES:
                continue
            data = file.read_bytes()
        except OSError:
            continue
        for pattern in (_NAMED, _NEAR):
            if match := pattern.search(data):
                return match[1].decode("ascii")
    raise NoClient


def _sources(program: Path) -> Iterator[Path]:
    """The program itself, then the other scripts of its package."""
    yield program
    root = next((p for p in program.parents if p.parts[-2:] == _PACKAGE.parts), program.parent)
    for number, file in enumerate(sorted(root.rglob("*.*js"))):
        if number >= _MOST_FILES:
            return
        if file.suffix in (".js", ".mjs", ".cjs") and file.is_file() and file != program:
            yield file
