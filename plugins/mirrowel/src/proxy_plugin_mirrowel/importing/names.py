"""Names of the old system that set nothing here, with the reason; and providers that need more than a key."""

from __future__ import annotations

import re
from collections.abc import Mapping

from proxy_plugin_mirrowel.names import why_without_effect

_REASONS: Mapping[str, str] = {
    r"[A-Z0-9_]+_CACHE_(ENABLE|DISK_ENABLE|TTL|DISK_TTL|CLEANUP_INTERVAL|WRITE_INTERVAL)": (
        "the old proxy's caches do not exist here"
    ),
    r"(AWS|VERTEXAI|VERTEX|AZURE|WATSONX)_\w+": (
        "litellm reads it from the environment of the program: set it there, or as a keyword in "
        "[plugins.litellm.providers.<name>]"
    ),
}

#: Providers whose plugins were taken out of the old proxy, because the vendors ended or forbade such access.
RETIRED = {"antigravity": "that access was ended by the vendor", "iflow": "that access was ended by the vendor"}

#: Providers of litellm that need more than a key.
NEED_SETTINGS = frozenset(
    "azure azure_ai bedrock vertex_ai sagemaker watsonx databricks snowflake cloudflare oci predibase".split()
)


def reason(name: str) -> str | None:
    """Why a variable sets nothing here; ``None`` if it is not one of the old system's."""
    known = why_without_effect(name)
    if known is not None:
        return known
    return next((why for form, why in _REASONS.items() if re.fullmatch(form, name)), None)
