"""Converts a status to JSON and back, for other processes and for programs that read it over HTTP."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import TypeAdapter

from proxy_core.interfaces import ProcessStatus


@cache
def _adapter() -> TypeAdapter[ProcessStatus]:
    """Built when first needed, because that takes as long as a hundred requests."""
    return TypeAdapter(ProcessStatus)


def as_json(status: ProcessStatus) -> Any:
    return _adapter().dump_python(status, mode="json")


def from_json(value: Any) -> ProcessStatus:
    """Raises pydantic's ``ValidationError``."""
    return _adapter().validate_python(value)
