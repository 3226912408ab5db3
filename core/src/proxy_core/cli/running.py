"""Asking the running proxy of this installation."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import click

from proxy_core import control
from proxy_core.loading import LoadedSettings
from proxy_core.server.clientkey import admin_key


class NotRunning(click.ClickException):
    """Nobody answers."""


def ask(loaded: LoadedSettings, method: str, path: str, body: Mapping[str, Any] | None = None) -> list[Any]:
    """What the proxy's processes answer; several where it has workers. Raises ``ClickException`` in its own words."""
    key = admin_key(loaded).get_secret_value()
    try:
        answers = asyncio.run(control.ask(loaded.runtime_dir, method, path, key, body))
    except control.Unreachable:
        raise NotRunning(
            f"no running proxy was found for the data folder {loaded.data_dir}; start it, or set PROXY_DATA_DIR"
        ) from None
    good = [answer for status, answer in answers if status == 200]
    if not good:
        _, answer = answers[0]
        raise click.ClickException(answer["error"]["message"])
    return good


def processes(loaded: LoadedSettings, method: str, path: str, body: Mapping[str, Any] | None = None) -> list[Any]:
    """The ``processes`` of a question that each answers for itself."""
    separator = "&" if "?" in path else "?"
    answers = ask(loaded, method, f"{path}{separator}local=1", body)
    return [process for answer in answers for process in answer["processes"]]
