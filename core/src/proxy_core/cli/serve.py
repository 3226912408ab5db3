"""``proxy-core serve``: run the proxy."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from proxy_core.cli.common import load_or_tell, plugin_overrides, printable, settings_options
from proxy_core.errors import SettingsError
from proxy_core.interfaces import HttpServer
from proxy_core.plugins.inventory import note_start
from proxy_core.plugins.loader import is_installed
from proxy_core.records.log import ProgramLog, program_log
from proxy_core.runtime.active import Active
from proxy_core.runtime.advice import log_warnings
from proxy_core.runtime.destinations import destinations, files
from proxy_core.runtime.generation import Generation
from proxy_core.runtime.reload import Reloader
from proxy_core.runtime.start import start
from proxy_core.runtime.working_directory import decided_here
from proxy_core.server import control_socket, descriptors, supervisor
from proxy_core.server.certificate import Certificate
from proxy_core.server.client_key import generated_key_file
from proxy_core.server.serve import (
    WorkerSpec,
    check_exposure,
    check_platform,
    check_server,
    hold_reloads,
    listen,
    reload_on_signal,
    run_loop,
    serve_app,
    stop_on_signals,
    url_of,
)
from proxy_core.settings.loading import load
from proxy_core.status.view import Worker

if TYPE_CHECKING:  # one process needs none of it
    from multiprocessing.connection import Connection

log = logging.getLogger("proxy_core.serve")

#: Which plugin ``--demo`` switches on; nothing but this flag and the plugin's own setting does.
_DEMO_PLUGIN = "devkit"
_NO_PROVIDER = "none; proxy-core init sets one up, or set for example OPENAI_API_KEY"
#: Of a provider's keys, the greeting names this many.
_MOST_LABELS = 10
_DOCS = "https://github.com/proxy-core/proxy-core/tree/main/docs"


@click.command("serve")
@settings_options
@click.option("--host", help="Address to listen on (default 127.0.0.1).")
@click.option("--port", type=int, help="Port to listen on (default 8000); 0 lets the operating system choose.")
@click.option("--workers", type=int, help="Worker processes (default 1).")
@click.option(
    "--server",
    "http_server",
    metavar="NAME",
    help="HTTP server (default hypercorn); uvicorn and granian are extras: proxy-core[uvicorn], proxy-core[granian].",
)
@click.option("--tls-certificate", type=click.Path(path_type=Path), help="PEM certificate chain.")
@click.option("--tls-key", type=click.Path(path_type=Path), help="PEM private key.")
@click.option("--demo", is_flag=True, help="Add a toy provider, demo/small: a first response without any account.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="Program log.")
@click.option("--enable-request-logging", is_flag=True, help="Write a record of every request; see [records].")
def command(
    config: Path | None,
    disable_plugin: tuple[str, ...],
    demo: bool,
    log_level: str | None,
    enable_request_logging: bool,
    **server: Any,
) -> None:
    """Run the proxy until SIGINT or SIGTERM."""
    check_platform()
    overrides: dict[str, Any] = plugin_overrides(disable_plugin, config)
    overrides["server"] = {key: value for key, value in server.items() if value is not None}
    overrides["log"] = {"level": log_level} if log_level else {}
    overrides["records"] = {"enabled": True} if enable_request_logging else {}
    if demo:
        overrides["plugins"] = {**overrides.get("plugins", {}), **_demo_tables()}
    loaded = load_or_tell(config, overrides)
    check_exposure(loaded)
    active = start(loaded)
    if demo:
        _check_demo(active.current)
    hold_reloads()
    with _logging(active) as written:
        signal.signal(signal.SIGTERM, _leave)
        _run(active, written, WorkerSpec(config=config, overrides=overrides), demo)


def _demo_tables() -> dict[str, Any]:
    """What ``--demo`` says to the plugin that has the demo. Raises ``SettingsError`` if it is not installed."""
    if not is_installed(_DEMO_PLUGIN):
        raise SettingsError([f"--demo needs one more package: pip install proxy-plugin-{_DEMO_PLUGIN}"])
    return {_DEMO_PLUGIN: {"demo": True}}


def _check_demo(first: Generation) -> None:
    """Raises ``SettingsError`` if the demo's plugin is not in use."""
    plugin = next(plugin for plugin in first.catalog.plugins if plugin.name == _DEMO_PLUGIN)
    if plugin.state != "active":
        raise SettingsError([f"--demo: the plugin {_DEMO_PLUGIN} is {plugin.state}: {plugin.reason}"])


def _leave(*_: object) -> None:
    """A signal before the server runs: there is nothing to drain, but log lines are still written."""
    raise SystemExit(0)


def _run(active: Active, written: ProgramLog, spec: WorkerSpec, demo: bool) -> None:
    server = active.current.loaded.settings.server
    http_server = check_server(server, active.current.catalog.http_servers)  # before anything starts
    sock = supervisor.opened_socket(active.current.loaded) or listen(server)
    url = url_of(sock, server)
    if server.workers == 1:
        control = _control_socket(active)  # before the greeting, after which commands may be used at once
        _greet(active, url, demo)
        run_loop(_serve(active, http_server, written, spec, sock, control))
    else:
        from proxy_core.server.workers import supervise  # one process needs none of what it imports

        _greet(active, url, demo)
        told = supervisor.Supervisor.of(active.current.loaded)
        supervise(_worker, spec, sock, server.workers, server.shutdown_grace_s, told)


def _worker(spec: WorkerSpec, sock: socket.socket, parent: Connection) -> None:
    """One worker process: the same settings, its own everything else."""
    worker = Worker(number=spec.number, parent=os.getppid())
    loaded = load(spec.config, overrides=spec.overrides)
    active = start(loaded, worker=worker)
    with _logging(active, spec.number) as written:
        http_server = check_server(loaded.settings.server, active.current.catalog.http_servers)
        run_loop(_serve(active, http_server, written, spec, sock, _control_socket(active), parent))


def _control_socket(active: Active) -> socket.socket | None:
    folder = active.current.loaded.runtime_dir
    control = control_socket.listen(folder)
    if control is None:
        log.warning(
            "control socket disabled: %s is accessible to other users or cannot be written; "
            "`why`, `explain`, `cooldown` and `reload` will not work",
            folder,
        )
    return control


def _logging(active: Active, worker: int = 0) -> AbstractContextManager[ProgramLog]:
    loaded = active.current.loaded
    return program_log(
        loaded.settings.log,
        folder=loaded.data_dir / "logs",
        scrub=active.process.scrub,
        redaction=active.process.redaction,
        worker=worker,
    )


async def _serve(
    active: Active,
    http_server: HttpServer,
    written: ProgramLog,
    spec: WorkerSpec,
    sock: socket.socket,
    control: socket.socket | None,
    parent: Connection | None = None,
) -> None:
    loaded, stop = active.current.loaded, active.stop
    server = loaded.settings.server
    active.process.url = url_of(sock, server)

    def activated(now: Generation) -> None:
        written.redaction = now.redaction

    read = partial(load, spec.config, overrides=spec.overrides)
    certificate = Certificate(server)
    reloader = Reloader(active=active, read=read, activated=activated)
    active.reload = reloader
    stop_on_signals(stop, active.interrupt)
    told = supervisor.Supervisor.of(loaded)
    if parent is not None:
        from proxy_core.server.workers import follow_parent

        follow_parent(parent, stop, told)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(reload_on_signal(reloader, stop))
        tasks.create_task(descriptors.watch(stop))
        tasks.create_task(certificate.watch(stop))
        tasks.create_task(told.report(active.started, stop, worker=parent is not None))
        tasks.create_task(
            serve_app(
                active,
                http_server,
                server,
                sock,
                stop,
                retire=partial(_retire, active),
                interrupt=active.interrupt,
                control=control,
                certificate=certificate,
            )
        )


def _retire(active: Active) -> None:
    """Say what a stopping server still waits for."""
    active.retire()
    waiting = len(active.process.in_flight)
    if waiting:
        busy = [f"{name} {pool.in_flight}" for name, pool in active.process.pools.items() if pool.in_flight]
        at = f" (of these at providers: {', '.join(busy)})" if busy else ""
        grace_s = active.current.loaded.settings.server.shutdown_grace_s
        log.info(
            "stopping: up to %g s for %d running request%s%s; Ctrl-C or SIGTERM again ends them now",
            *(grace_s, waiting, "s" if waiting > 1 else "", at),
        )


def _greet(active: Active, url: str, demo: bool) -> None:
    """Print the URL, the providers with the variables their keys come from, and the key file; never a key."""
    first, loaded = active.current, active.current.loaded
    log_warnings(log, first.warnings, first.catalog)
    for plugin in first.catalog.plugins:
        hooks = ", ".join(f"{hook} ({len(items)})" for hook, items in plugin.provided.items())
        log.debug("plugin %s: %s in %.1f ms; %s", plugin.name, plugin.state, plugin.load_s * 1000, hooks or "no hooks")
    click.echo(f"proxy-core listens on {url}")
    for place in [*map(str, files(loaded.sources))] or ["variables and defaults alone"]:
        click.echo(f"settings from {place}")
    for line in (*decided_here(loaded, first.catalog), *_changed_packages(active)):
        click.echo(line)
    click.echo(f"providers: {', '.join(_described(first)) or _NO_PROVIDER}")
    for line in destinations(first.catalog, first.pools):
        click.echo(line)
    key_file = generated_key_file(loaded)
    click.echo(f"client key: in {key_file}" if key_file else f"clients: {', '.join(sorted(loaded.settings.clients))}")
    click.echo(f"docs: {_DOCS}; Ctrl-C stops the proxy")
    if demo:
        key = f"$(cat '{key_file}')" if key_file else "$PROXY_API_KEY"
        click.echo("try it:")
        click.echo(f'  curl -N {url}/v1/chat/completions -H "Authorization: Bearer {key}" \\')
        click.echo(
            '    -d \'{"model": "demo/small", "stream": true, "messages": [{"role": "user", "content": "hi"}]}\''
        )


def _changed_packages(active: Active) -> list[str]:
    """Packages with plugins that are not what they were at the last start."""
    loaded = active.current.loaded
    try:
        changes = note_start(loaded.data_dir, active.process.started_at)
    except OSError as error:
        log.warning("what is installed was not noted for the next start: %s: %s", error.filename, error.strerror)
        return []
    return [f"since the last start: {line}" for line in changes]


def _described(first: Generation) -> list[str]:
    """The providers that can serve now. Providers without credentials are not listed."""
    described = []
    for name, pool in first.pools.items():
        if not pool.credentials:
            continue
        labels = [printable(c.label) for c in pool.credentials if c.kind != "none"]
        more = f" and {len(labels) - _MOST_LABELS} more" if len(labels) > _MOST_LABELS else ""
        described.append(f"{name} ({', '.join(labels[:_MOST_LABELS])}{more})" if labels else name)
    return described
