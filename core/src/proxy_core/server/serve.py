"""Runs a proxy: sockets, signals, workers and graceful shutdown, the same under each HTTP server."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct
from starlette.types import ASGIApp

from proxy_core.errors import SettingsError
from proxy_core.interfaces import Hosting, HttpServer
from proxy_core.interfaces.servers import BACKLOG
from proxy_core.server import control_socket
from proxy_core.server.certificate import Certificate, check_certificate
from proxy_core.server.descriptors import raise_limit
from proxy_core.settings.loading import LoadedSettings
from proxy_core.settings.schema import ServerSettings

log = logging.getLogger("proxy_core.serve")

#: Extras of the core, each with a server of its name.
_EXTRAS = ("uvicorn", "granian")
_DEFAULT = "hypercorn"
_SWITCH_S = 0.001


def check_platform(system: str = os.name) -> None:
    """Raises ``SettingsError`` on a system without the signals and sockets that serving relies on."""
    if system != "posix":
        raise SettingsError(
            ["serve needs a POSIX system; on Windows, run it in WSL 2 or in a container: docs/deploying.md says how"]
        )


def check_exposure(loaded: LoadedSettings) -> None:
    """Raises ``SettingsError`` if the proxy would listen beyond loopback without a configured client key."""
    server = loaded.settings.server
    if not server.is_loopback and not loaded.settings.clients:
        raise SettingsError(
            [
                f"server.host: {server.host} is reachable from other machines, and no client key is configured; "
                "set PROXY_API_KEY or [clients.<name>] key first"
            ]
        )


def listen(server: ServerSettings) -> socket.socket:
    """A bound, listening socket. Raises ``SettingsError`` if the address is not available."""
    try:
        sock = _bound(server.host, server.port)
        sock.listen(BACKLOG)
    except (OSError, ValueError) as error:
        raise SettingsError([f"cannot listen on {server.host}:{server.port}: {_reason(error)}"]) from None
    sock.setblocking(False)
    sock.set_inheritable(True)
    return sock


def check_host(server: ServerSettings) -> None:
    """Raises ``SettingsError`` if this machine does not have the address, whatever port is free."""
    try:
        _bound(server.host, 0).close()
    except (OSError, ValueError) as error:
        raise SettingsError([f"server.host: cannot listen on {server.host}: {_reason(error)}"]) from None


def _bound(host: str, port: int) -> socket.socket:
    """Raises ``OSError``, or ``ValueError`` for a name that cannot be encoded."""
    info = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    sock = socket.socket(*info[:3])  # with its protocol, or asyncio does not turn Nagle's algorithm off
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(info[4])
    except OSError:
        sock.close()
        raise
    return sock


def _reason(error: OSError | ValueError) -> object:
    return (error.strerror if isinstance(error, OSError) else None) or error


def url_of(sock: socket.socket, server: ServerSettings) -> str:
    host, port = sock.getsockname()[:2]
    scheme = "https" if server.tls_certificate else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def check_server(server: ServerSettings, servers: Mapping[str, HttpServer]) -> HttpServer:
    """The chosen HTTP server. Raises ``SettingsError`` for everything that would keep it from starting."""
    check_certificate(server)
    name = server.http_server
    chosen = servers.get(name)
    if chosen is None:
        known = f"pip install 'proxy-core[{name}]'" if name in _EXTRAS else f"there are {', '.join(sorted(servers))}"
        raise SettingsError([f"server.http_server: {name} is not installed; {known}"])
    if name != _DEFAULT and server.hypercorn:
        raise SettingsError(
            [f"server.hypercorn.{option}: Hypercorn's option, but the server is {name}" for option in server.hypercorn]
        )
    if name != _DEFAULT and server.http2:
        raise SettingsError([f"server.http2: {name} has no HTTP/2 here; use hypercorn"])
    if chosen.check is not None:
        chosen.check(server)
    return chosen


async def serve_app(
    app: ASGIApp,
    http_server: HttpServer,
    server: ServerSettings,
    sock: socket.socket,
    stop: asyncio.Event,
    *,
    retire: Callable[[], None],
    interrupt: Callable[[], None],
    control: socket.socket | None = None,
    certificate: Certificate | None = None,
) -> None:
    """Serve on ``sock``, which it takes over, until ``stop``. Requests then get ``shutdown_grace_s``, then an error.

    ``retire`` ends feeds at once; ``interrupt`` ends requests after the grace period. ``control`` is the listening
    Unix socket for the command line; it is taken over, too, and its file is removed at the end. ``certificate`` is what
    keeps TLS up to date.
    """
    control_file = Path(control.getsockname()).with_suffix(".sock") if control is not None else None

    async def stopping() -> None:
        await stop.wait()
        retire()
        asyncio.get_running_loop().call_later(server.shutdown_grace_s, interrupt)

    try:
        hosting = Hosting(
            app=app,
            settings=server,
            sock=sock,
            control=control,
            stopping=stopping,
            keep_current=(certificate or Certificate(server)).keep_current,
        )
        await http_server.serve(hosting)
    finally:
        sock.close()
        if control is not None and control_file is not None:
            control.close()
            control_socket.remove(control_file)


def stop_on_signals(stop: asyncio.Event, interrupt: Callable[[], None]) -> None:
    """The first SIGINT or SIGTERM starts a graceful shutdown, a second one ends running requests at once."""

    def on_signal() -> None:
        if stop.is_set():
            interrupt()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)


def hold_reloads() -> None:
    """Block SIGHUP until :func:`reload_on_signal` handles it; unhandled, it would end the process."""
    if hasattr(signal, "SIGHUP"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})


def hear_reloads() -> None:
    if hasattr(signal, "SIGHUP"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


async def reload_on_signal(reload: Callable[[], Awaitable[object]], stop: asyncio.Event) -> None:
    """Call ``reload`` at each SIGHUP until ``stop``. Several during one reload cause one more."""
    if not hasattr(signal, "SIGHUP"):
        return
    loop, requested = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, requested.set)
    hear_reloads()
    stopping = asyncio.ensure_future(stop.wait())
    try:
        while not stop.is_set():
            waiting = asyncio.ensure_future(requested.wait())
            await asyncio.wait({waiting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if requested.is_set() and not stop.is_set():
                requested.clear()
                await reload()
    finally:
        stopping.cancel()


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """``asyncio.run``, on uvloop if it is installed.

    Everything loaded so far lives until the end, so the garbage collector need not scan it repeatedly.
    """
    gc.freeze()
    gc.enable()
    faulthandler.enable()  # a crash, and SIGABRT from a watchdog, leave a traceback on standard error
    raise_limit()
    # Large bodies are read in threads. By default, each would hold the interpreter for 5 ms at a time.
    sys.setswitchinterval(_SWITCH_S)
    factory: Callable[[], asyncio.AbstractEventLoop] | None
    try:
        from uvloop import new_event_loop as factory
    except ImportError:
        factory = None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main)


class WorkerSpec(Struct, frozen=True, kw_only=True):
    """What a worker process needs to build the same proxy as its parent. Holds no secret."""

    config: Path | None
    overrides: Mapping[str, Any]
    #: Workers are numbered from 1 and keep their number when they are replaced.
    number: int = 0
