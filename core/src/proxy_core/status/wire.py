"""Converts a status to JSON and back, for other processes and for programs that read it over HTTP."""

from __future__ import annotations

from typing import Any

from msgspec import convert, to_builtins

from proxy_core.interfaces import ProcessStatus


def as_json(status: ProcessStatus) -> Any:
    return to_builtins(status)


def from_json(value: Any) -> ProcessStatus:
    """Raises msgspec's ``ValidationError``."""
    return convert(value, ProcessStatus)
