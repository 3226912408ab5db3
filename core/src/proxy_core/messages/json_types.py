"""Types of JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

JsonObject = dict[str, Any]
Extra = Mapping[str, Any]
