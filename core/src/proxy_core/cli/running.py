"""Asking the running proxy of this installation."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import click

from proxy_core.cli.common import printable
from proxy_core.errors import SettingsError
from proxy_core.server import control_socket
from proxy_core.server.client_key import admin_key
from proxy_core.settings.loading import LoadedSettings


class NotRunning(click.ClickException):
    """Nobody answers."""


def ask(
    loaded: LoadedSettings, method: str, path: str, body: Mapping[str, Any] | None = None, within_s: float = 10.0
) -> list[Any]:
    """What the proxy's processes answer; several where it has workers. Raises ``ClickException`` in its own words."""
    key = admin_key(loaded).get_secret_value()
    try:
        answers = asyncio.run(control_socket.ask(loaded.runtime_dir, method, path, key, body, within_s=within_s))
    except control_socket.Unreachable:
        raise NotRunning(
            f"no running proxy was found for the data folder {loaded.data_dir}; start it, or set PROXY_DATA_DIR"
        ) from None
    good = [answer for status, answer in answers if status == 200]
    if not good:
        _, answer = answers[0]
        raise click.ClickException(answer["error"]["message"])
    return good


def processes(
    loaded: LoadedSettings, method: str, path: str, body: Mapping[str, Any] | None = None, within_s: float = 10.0
) -> list[Any]:
    """The ``processes`` of a question that each answers for itself."""
    separator = "&" if "?" in path else "?"
    answers = ask(loaded, method, f"{path}{separator}local=1", body, within_s)
    return [process for answer in answers for process in answer["processes"]]


def tell_credentials(loaded: LoadedSettings) -> None:
    """Have a running proxy take up what changed, and say what came of it; nothing if none runs."""
    try:
        key = admin_key(loaded).get_secret_value()
        answers = asyncio.run(control_socket.ask(loaded.runtime_dir, "POST", "/admin/reload?local=1", key, {}))
    except (control_socket.Unreachable, SettingsError):
        return
    refused = [answer for status, answer in answers if status not in (200, 404)]
    if any(status == 404 for status, _ in answers):
        click.echo("a proxy is running: restart the proxy to use it")
    elif refused:
        why = refused[0].get("error", {}).get("message", "") if isinstance(refused[0], dict) else ""
        click.echo(f"the running proxy did not take it up: {printable(why)}", err=True)
    else:
        click.echo("the running proxy has taken it up")
