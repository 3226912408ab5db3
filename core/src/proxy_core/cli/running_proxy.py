"""Requests to the running proxy of this installation, over its control sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import click
from msgspec import ValidationError, convert

from proxy_core.cli.common import printable
from proxy_core.errors import SettingsError
from proxy_core.interfaces import ProcessStatus
from proxy_core.server import control_socket
from proxy_core.server.client_key import admin_key
from proxy_core.settings.loading import LoadedSettings


class NotRunning(click.ClickException):
    """No process of the proxy answers."""


def query(
    loaded: LoadedSettings, method: str, path: str, body: Mapping[str, Any] | None = None, within_s: float = 10.0
) -> list[Any]:
    """The answers of the proxy's processes, one for each worker. Raises ``ClickException`` with the proxy's message."""
    key = admin_key(loaded).get_secret_value()
    try:
        answers = asyncio.run(control_socket.ask(loaded.runtime_dir, method, path, key, body, timeout_s=within_s))
    except control_socket.Unreachable:
        raise NotRunning(
            f"no running proxy found for the data folder {loaded.data_dir}; start the proxy, or set PROXY_DATA_DIR"
        ) from None
    good = [answer for status, answer in answers if status == 200]
    if not good:
        _, answer = answers[0]
        raise click.ClickException(answer["error"]["message"])
    return good


def processes(
    loaded: LoadedSettings, method: str, path: str, body: Mapping[str, Any] | None = None, within_s: float = 10.0
) -> list[Any]:
    """The ``processes`` entries of all answers, for endpoints where each process reports about itself."""
    separator = "&" if "?" in path else "?"
    answers = query(loaded, method, f"{path}{separator}local=1", body, within_s)
    return [process for answer in answers for process in answer["processes"]]


def statuses(loaded: LoadedSettings) -> list[ProcessStatus]:
    """The status of each process; none if no proxy is running, or only one of another version."""
    try:
        return [convert(status, ProcessStatus) for status in processes(loaded, "GET", "/admin/status")]
    except (NotRunning, SettingsError, ValidationError):
        return []


def notify_running_proxy(loaded: LoadedSettings) -> None:
    """Reload a running proxy after a change and print the outcome; print nothing if no proxy is running."""
    try:
        key = admin_key(loaded).get_secret_value()
        answers = asyncio.run(control_socket.ask(loaded.runtime_dir, "POST", "/admin/reload?local=1", key, {}))
    except (control_socket.Unreachable, SettingsError):
        return
    refused = [answer for status, answer in answers if status not in (200, 404)]
    if any(status == 404 for status, _ in answers):
        click.echo("a proxy is running; restart it to apply the change")
    elif refused:
        why = refused[0].get("error", {}).get("message", "") if isinstance(refused[0], dict) else ""
        click.echo(f"the running proxy did not apply the change: {printable(why)}", err=True)
    else:
        click.echo("the running proxy applied the change")
