"""``proxy-core serve``: run the proxy."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import click

from proxy_core.cli.common import plugin_overrides, settings_options
from proxy_core.errors import SettingsError
from proxy_core.records.log import ProgramLog, program_log
from proxy_core.runtime.active import Switch
from proxy_core.runtime.compose import Proxy, compose
from proxy_core.runtime.reload import Reloader
from proxy_core.server.client_key import generated_key_file
from proxy_core.server.control_socket import own_socket
from proxy_core.server.serve import (
    WorkerSpec,
    check_exposure,
    hold_reloads,
    hypercorn_config,
    listen,
    reload_on_signal,
    run_loop,
    serve_app,
    stop_on_signals,
    supervise,
    url_of,
)
from proxy_core.settings.loading import LoadedSettings, load

log = logging.getLogger("proxy_core.serve")


@click.command("serve")
@settings_options
@click.option("--host", help="Address to listen on (default 127.0.0.1).")
@click.option("--port", type=int, help="Port to listen on (default 8000); 0 lets the system choose.")
@click.option("--workers", type=int, help="Worker processes (default 1).")
@click.option("--tls-certificate", type=click.Path(path_type=Path), help="PEM certificate chain.")
@click.option("--tls-key", type=click.Path(path_type=Path), help="PEM private key.")
@click.option("--demo", is_flag=True, help="Add a built-in toy provider, demo/small: an answer without any account.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="Program log.")
@click.option("--enable-request-logging", is_flag=True, help="Keep a record of every request; see [records].")
def command(
    config: Path | None,
    disable_plugin: tuple[str, ...],
    demo: bool,
    log_level: str | None,
    enable_request_logging: bool,
    **server: Any,
) -> None:
    """Run the proxy until SIGINT or SIGTERM."""
    overrides: dict[str, Any] = plugin_overrides(disable_plugin, config)
    overrides["server"] = {key: value for key, value in server.items() if value is not None}
    overrides["log"] = {"level": log_level} if log_level else {}
    overrides["records"] = {"enabled": True} if enable_request_logging else {}
    demo_socket = _demo_socket() if demo else None
    if demo_socket is not None:
        host, port = demo_socket.getsockname()
        overrides["providers"] = {"demo": {"base_url": f"http://{host}:{port}/v1", "stream_usage": True}}
    loaded = load(config, overrides=overrides)
    check_exposure(loaded)
    proxy = compose(loaded)
    hold_reloads()
    with _logging(proxy) as written:
        signal.signal(signal.SIGTERM, _leave)
        _run(proxy, written, WorkerSpec(config=config, overrides=overrides), demo_socket)


def _leave(*_: object) -> None:
    """A signal before the server runs: nothing to drain, but what was logged is still written."""
    raise SystemExit(0)


def _run(proxy: Proxy, written: ProgramLog, spec: WorkerSpec, demo_socket: socket.socket | None) -> None:
    loaded, demo = proxy.loaded, demo_socket is not None
    if demo and "demo" not in proxy.catalog.providers:
        raise SettingsError(["--demo needs the plugin proxy-plugin-openai-compat"])
    hypercorn_config(loaded.settings.server)  # its mistakes are told before anything starts
    sock = listen(loaded.settings.server)
    _greet(proxy, url_of(sock, loaded.settings.server), demo)
    workers = loaded.settings.server.workers
    if workers == 1:
        run_loop(_serve(proxy, written, spec, sock, demo_socket))
        return
    supervise(
        _worker if demo_socket is None else _DemoWorker(demo_socket),
        spec,
        sock,
        workers,
        loaded.settings.server.shutdown_grace_s,
    )


def _worker(spec: WorkerSpec, sock: socket.socket, demo_socket: socket.socket | None = None) -> None:
    """One worker process: the same settings, its own everything else."""
    proxy = compose(load(spec.config, overrides=spec.overrides))
    if proxy.meter is not None:
        proxy.meter.becomes(spec.number)
    with _logging(proxy, spec.number) as written:
        run_loop(_serve(proxy, written, spec, sock, demo_socket))


def _logging(proxy: Proxy, worker: int = 0) -> AbstractContextManager[ProgramLog]:
    return program_log(
        proxy.loaded.settings.log,
        folder=proxy.loaded.data_dir / "logs",
        scrub=proxy.scrub,
        redaction=proxy.redaction,
        worker=worker,
    )


class _DemoWorker:
    """A worker that also serves the demo upstream; a class, because it has to be pickled."""

    def __init__(self, demo_socket: socket.socket) -> None:
        self._demo_socket = demo_socket

    def __call__(self, spec: WorkerSpec, sock: socket.socket) -> None:
        _worker(spec, sock, self._demo_socket)


async def _serve(
    proxy: Proxy, written: ProgramLog, spec: WorkerSpec, sock: socket.socket, demo_socket: socket.socket | None
) -> None:
    server, stop = proxy.loaded.settings.server, asyncio.Event()
    switch = Switch(proxy, proxy.state, server.shutdown_grace_s)

    def turned(now: Proxy) -> None:
        written.redaction = now.redaction
        if now.meter is not None and spec.number:
            now.meter.becomes(spec.number)

    reloader = Reloader(
        switch=switch, read=partial(load, spec.config, overrides=spec.overrides), turned=turned, stop=stop
    )
    switch.reload = reloader.answer
    stop_on_signals(stop, switch.interrupt)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(reload_on_signal(reloader, stop))
        if demo_socket is not None:
            tasks.create_task(_serve_demo(demo_socket, stop))
        config = hypercorn_config(server)
        own = own_socket(proxy.loaded.runtime_dir)
        if own is None:
            log.warning(
                "why, explain, cooldown and reload cannot ask: %s is not for one user alone", proxy.loaded.runtime_dir
            )
        tasks.create_task(
            serve_app(
                switch,
                sock,
                config,
                stop,
                interrupt=switch.interrupt,
                shutdown_grace_s=server.shutdown_grace_s,
                own_socket=own,
            )
        )


async def _serve_demo(demo_socket: socket.socket, stop: asyncio.Event) -> None:
    from hypercorn.asyncio import serve as hypercorn_serve
    from hypercorn.config import Config

    from proxy_core.server.demo import demo_app

    config = Config()
    config.bind = [f"fd://{demo_socket.detach()}"]
    config.errorlog = logging.getLogger("hypercorn.error")
    await hypercorn_serve(demo_app(), config, shutdown_trigger=stop.wait)  # type: ignore[arg-type]  # as in serve_app


def _demo_socket() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(128)
    sock.setblocking(False)
    return sock


def _greet(proxy: Proxy, url: str, demo: bool) -> None:
    """Where it listens, what it serves, which variables it took; never a key."""
    loaded = proxy.loaded
    for warning in proxy.warnings:
        log.warning("%s", warning)
    click.echo(f"proxy-core listens on {url}")
    click.echo(f"providers: {', '.join(_described(loaded, proxy)) or 'none; set for example OPENAI_API_KEY'}")
    key_file = generated_key_file(loaded)
    if key_file is not None:
        click.echo(f"client key: in {key_file}")
    if demo:
        key = f"$(cat '{key_file}')" if key_file else "$PROXY_API_KEY"
        click.echo("try it:")
        click.echo(f'  curl -N {url}/v1/chat/completions -H "Authorization: Bearer {key}" \\')
        click.echo(
            '    -d \'{"model": "demo/small", "stream": true, "messages": [{"role": "user", "content": "hi"}]}\''
        )


def _described(loaded: LoadedSettings, proxy: Proxy) -> list[str]:
    """Those that could serve now: one that waits for a login or a key is not news to who has neither."""
    described = []
    for name, pool in proxy.pools.items():
        if not pool.credentials:
            continue
        labels = [c.label for c in pool.credentials if c.kind != "none"]
        described.append(f"{name} ({', '.join(labels)})" if labels else name)
    return described
