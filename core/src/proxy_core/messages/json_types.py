"""Types of JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["Extra", "JsonObject"]

JsonObject = dict[str, Any]
Extra = Mapping[str, Any]
