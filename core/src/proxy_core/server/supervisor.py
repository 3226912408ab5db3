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
from typing import Self

from msgspec import Struct

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


class Supervisor(Struct, frozen=True, kw_only=True):
    """``place``: where it wants to be told, empty if nowhere. ``watchdog_s``: how often at least, ``None`` if never."""

    place: str
    watchdog_s: float | None

    @classmethod
    def of(cls, loaded: LoadedSettings) -> Self:
        limit_us = _said(loaded, "WATCHDOG_USEC")
        watchdog_s = int(limit_us) / 1e6 if limit_us.isdecimal() and int(limit_us) else None
        return cls(place=_said(loaded, "NOTIFY_SOCKET"), watchdog_s=watchdog_s)

    def tell(self, words: str) -> None:
        """A supervisor that does not listen is no reason to stop."""
        if not self.place:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(words.encode(), "\0" + self.place[1:] if self.place.startswith("@") else self.place)

    async def report(self, started: asyncio.Event, stop: asyncio.Event, *, worker: bool) -> None:
        """Tell it that the proxy serves, at intervals that it lives, and that it stops.

        For a worker, its parent does all but the first.
        """
        if not self.place:
            return
        await started.wait()
        self.tell("READY=1")
        if worker:
            return
        interval_s = self.watchdog_s / 2 if self.watchdog_s is not None else None
        while not stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), interval_s)
                break
            self.tell("WATCHDOG=1")
        self.tell("STOPPING=1")


def _said(loaded: LoadedSettings, name: str) -> str:
    variable = loaded.sources.variables.get(name)
    return variable.value if variable is not None and variable.file is None and variable.secret is None else ""
