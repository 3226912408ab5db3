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
    answers = _answers(loaded, method, path, body, within_s)
    good = [answer for status, answer in answers if status == 200]
    if not good:
        status, answer = answers[0]
        raise (NotRunning if status == control_socket.SILENT else click.ClickException)(_message(answer))
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


def reload_running_proxy(loaded: LoadedSettings) -> list[str]:
    """Have every process read settings and credentials again; what kept one from it, nothing if all have.

    Raises ``NotRunning``, ``SettingsError``.
    """
    problems: list[str] = []
    for status, answer in _answers(loaded, "POST", "/admin/reload?local=1", {}):
        if status == 200:
            problems += [problem for process in answer["processes"] for problem in process["problems"]]
        else:
            problems.append(_message(answer))
    return list(dict.fromkeys(problems))


def notify_running_proxy(loaded: LoadedSettings) -> None:
    """Reload a running proxy after a change and print the outcome; print nothing if no proxy is running."""
    try:
        problems = reload_running_proxy(loaded)
    except (NotRunning, SettingsError):
        return
    if not problems:
        click.echo("the running proxy applied the change")
    for problem in problems:
        click.echo(f"it is saved, but the running proxy did not apply it: {printable(problem)}", err=True)


def _answers(
    loaded: LoadedSettings, method: str, path: str, body: Mapping[str, Any] | None, within_s: float = 10.0
) -> list[tuple[int, Any]]:
    key = admin_key(loaded).get_secret_value()
    try:
        return asyncio.run(control_socket.ask(loaded.runtime_dir, method, path, key, body, timeout_s=within_s))
    except control_socket.Unreachable:
        raise NotRunning(
            f"no running proxy found for the data folder {loaded.data_dir}; start the proxy, or set PROXY_DATA_DIR"
        ) from None


def _message(answer: Any) -> str:
    try:
        return str(answer["error"]["message"])
    except (LookupError, TypeError):
        return "it refused without a reason"
