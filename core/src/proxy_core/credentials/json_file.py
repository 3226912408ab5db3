"""The JSON in which other programs keep logins."""

from __future__ import annotations

import json
from typing import Any


def json_object(data: bytes) -> dict[str, Any]:
    """The object in a JSON file, in any of Unicode's encodings, with or without a mark at its beginning.

    Raises ``ValueError`` that says what it is instead, without quoting it.
    """
    try:
        value = json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError:
        raise ValueError("it is empty" if not data.strip() else "it is not JSON") from None
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")
    return value
