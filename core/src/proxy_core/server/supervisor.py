"""What a supervisor (systemd, or whatever speaks its protocols) says in the environment.

It may have opened the socket to listen on (``LISTEN_FDS``), and may want to be told when the proxy serves, that it is
alive, and when it stops (``NOTIFY_SOCKET``, ``WATCHDOG_USEC``). Only the program's own environment can say so.
Source: sd_listen_fds(3), sd_notify(3).
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
from contextlib import suppress

from proxy_core.errors import SettingsError
from proxy_core.settings.loading import LoadedSettings

_FIRST_DESCRIPTOR = 3


def opened_socket(loaded: LoadedSettings) -> socket.socket | None:
    """The listening socket that the supervisor has opened for this process, if any. Raises ``SettingsError``."""
    count = _said(loaded, "LISTEN_FDS")
    if not count or _said(loaded, "LISTEN_PID") != str(os.getpid()):
        return None
    if count != "1":
        raise SettingsError([f"LISTEN_FDS: the proxy listens on one socket, and it is given {count}"])
    try:
        sock = socket.socket(fileno=_FIRST_DESCRIPTOR)
    except OSError as error:
        raise SettingsError([f"LISTEN_FDS: descriptor {_FIRST_DESCRIPTOR} is no socket: {error.strerror}"]) from None
    if sock.family not in (socket.AF_INET, socket.AF_INET6) or sock.type != socket.SOCK_STREAM:
        raise SettingsError(["LISTEN_FDS: the proxy listens on TCP, and is given another kind of socket"])
    host = sock.getsockname()[0]
    if not ipaddress.ip_address(host).is_loopback and not loaded.settings.clients:
        raise SettingsError(
            [
                f"LISTEN_FDS: {host} is reachable from other machines, and no client key is configured; "
                "set PROXY_API_KEY or [clients.<name>] key first"
            ]
        )
    sock.setblocking(False)
    sock.set_inheritable(True)
    return sock


async def report(loaded: LoadedSettings, started: asyncio.Event, stop: asyncio.Event) -> None:
    """Tell the supervisor, if it wants to know: that the proxy serves, at intervals that it lives, that it stops."""
    place, watchdog_us = _said(loaded, "NOTIFY_SOCKET"), _said(loaded, "WATCHDOG_USEC")
    if not place:
        return
    await started.wait()
    _tell(place, "READY=1")
    interval_s = int(watchdog_us) / 2_000_000 if watchdog_us.isdecimal() and int(watchdog_us) else None
    while not stop.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), interval_s)
            break
        _tell(place, "WATCHDOG=1")
    _tell(place, "STOPPING=1")


def _said(loaded: LoadedSettings, name: str) -> str:
    variable = loaded.sources.variables.get(name)
    return variable.value if variable is not None and variable.file is None and variable.secret is None else ""


def _tell(place: str, words: str) -> None:
    """A supervisor that does not listen is no reason to stop."""
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.sendto(words.encode(), "\0" + place[1:] if place.startswith("@") else place)
