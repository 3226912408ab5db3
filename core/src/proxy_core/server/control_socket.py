"""Reaches the running processes of one installation: each has a socket in a folder that only its owner can enter.

The command line finds every worker this way, whatever port and address the proxy listens on.
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

from proxy_core.files import private_folder

_TIMEOUT_S = 10.0
#: In place of the status of a process that runs and says nothing: it hangs, or is stopped.
SILENT = 504
#: The limit of the operating system for a socket's path.
_MAX_PATH = 100


class Unreachable(Exception):
    """No process is reachable here."""


def listen(folder: Path) -> socket.socket | None:
    """This process's socket, already listening; ``None`` if the folder cannot be created or trusted.

    It gets its final name only once it listens, because :func:`ask` removes a socket that refuses connections.
    """
    path = own_socket(folder)
    if path is None:
        return None
    unnamed = path.with_suffix(".new")
    remove(unnamed)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(unnamed))
        sock.listen()
        sock.setblocking(False)
        unnamed.rename(path)
    except OSError:  # the disk is full, for example
        sock.close()
        return None
    return sock


def own_socket(folder: Path) -> Path | None:
    """The path of this process's socket; ``None`` if the folder cannot be created or trusted."""
    path = folder / f"{os.getpid()}.sock"
    if not hasattr(os, "getuid") or len(str(path)) > _MAX_PATH:
        return None
    with suppress(OSError):
        private_folder(folder)
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
    exclude: Path | None = None,
    timeout_s: float = _TIMEOUT_S,
) -> list[tuple[int, Any]]:
    """The status and JSON of each process but ``exclude``, asked concurrently. Raises ``Unreachable`` without any."""
    pending = [_ask(file, method, path, key, body, timeout_s) for file in _sockets(folder, exclude)]
    responses = [response for response in await asyncio.gather(*pending) if response is not None]
    if not responses:
        raise Unreachable
    return responses


def _sockets(folder: Path, exclude: Path | None) -> list[Path]:
    """Only from a private folder: in a shared one, another user could place a socket and receive the admin key."""
    if not hasattr(os, "getuid") or not _is_private(folder):
        return []
    return [file for file in sorted(folder.glob("*.sock")) if file != exclude]


def remove(file: Path) -> None:
    """Remove the socket of a process that has ended or is about to end."""
    with suppress(OSError):
        file.unlink()


async def _ask(
    file: Path, method: str, path: str, key: str, body: Mapping[str, Any] | None, timeout_s: float
) -> tuple[int, Any] | None:
    import httpx  # only commands ask, and it would make a server start later

    # The control socket does not use TLS, and loading a certificate bundle takes tens of milliseconds.
    transport = httpx.AsyncHTTPTransport(uds=str(file), verify=False)
    headers = {"authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(transport=transport, timeout=timeout_s, trust_env=False) as client:
        try:
            response = await client.request(method, f"http://proxy-core{path}", headers=headers, json=body)
            return response.status_code, response.json()
        except httpx.ConnectError:
            remove(file)
            return None
        except httpx.TimeoutException:
            words = f"process {file.stem} did not answer within {timeout_s:g} seconds"
            return SILENT, {"error": {"message": words}}
        except (httpx.TransportError, ValueError):
            return None
