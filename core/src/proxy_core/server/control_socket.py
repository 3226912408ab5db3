"""Control sockets: each process of an installation has one, in a folder that only its owner can enter.

The command line reaches all workers this way, whatever port and address the proxy listens on.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

_ASK_S = 10.0
#: Longest path of a Unix socket.
_MAX_PATH = 100


class Unreachable(Exception):
    """No process answers."""


def listen(folder: Path) -> socket.socket | None:
    """This process's socket, already listening; ``None`` if the folder cannot be created or trusted.

    It gets its name only once it is listening, because :func:`ask` removes a socket that refuses connections.
    """
    path = own_socket(folder)
    if path is None:
        return None
    unnamed = path.with_suffix(".new")
    remove(unnamed)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(str(unnamed))
    sock.listen()
    sock.setblocking(False)
    unnamed.rename(path)
    return sock


def own_socket(folder: Path) -> Path | None:
    """The path of this process's socket; ``None`` if the folder cannot be created or trusted."""
    path = folder / f"{os.getpid()}.sock"
    if not hasattr(os, "getuid") or len(str(path)) > _MAX_PATH:
        return None
    with suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path if _is_private(folder) else None


def _is_private(folder: Path) -> bool:
    try:
        about = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid() and not about.st_mode & 0o077


async def ask(
    folder: Path,
    method: str,
    path: str,
    key: str,
    body: Mapping[str, Any] | None = None,
    but: Path | None = None,
    within_s: float = _ASK_S,
) -> list[tuple[int, Any]]:
    """Ask all processes at once, ``but`` one, for status and JSON. Raises ``Unreachable`` if there is none."""
    asked = [_ask(file, method, path, key, body, within_s) for file in _sockets(folder, but)]
    answers = [answer for answer in await asyncio.gather(*asked) if answer is not None]
    if not answers:
        raise Unreachable
    return answers


def _sockets(folder: Path, but: Path | None) -> list[Path]:
    """The sockets in the folder, if it is private: a socket of another user would receive the admin key."""
    if not hasattr(os, "getuid") or not _is_private(folder):
        return []
    return [file for file in sorted(folder.glob("*.sock")) if file != but]


def remove(file: Path) -> None:
    """Remove a socket whose process has ended or is about to."""
    with suppress(OSError):
        file.unlink()


async def _ask(
    file: Path, method: str, path: str, key: str, body: Mapping[str, Any] | None, within_s: float
) -> tuple[int, Any] | None:
    # Control sockets do not use TLS, and loading certificate authorities takes tens of milliseconds.
    transport = httpx.AsyncHTTPTransport(uds=str(file), verify=False)
    headers = {"authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(transport=transport, timeout=within_s, trust_env=False) as client:
        try:
            reply = await client.request(method, f"http://proxy-core{path}", headers=headers, json=body)
            return reply.status_code, reply.json()
        except httpx.ConnectError:
            remove(file)
            return None
        except (httpx.TransportError, ValueError):
            return None
