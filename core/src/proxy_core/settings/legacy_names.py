"""Names of the system that this proxy replaces, to point to the package that reads them."""

from __future__ import annotations

from collections.abc import Collection

PLUGIN = "mirrowel"
_PREFIXES = (
    *("CONCURRENCY_MULTIPLIER_", "CUSTOM_CAP_", "EXHAUSTION_COOLDOWN_", "FAIR_CYCLE_", "GLOBAL_TIMEOUT"),
    *("IGNORE_MODELS_", "MAX_CONCURRENT_REQUESTS_PER_KEY_", "MODEL_INFO_REFRESH_INTERVAL", "OAUTH_REFRESH_INTERVAL"),
    *("OPTIMAL_CONCURRENT_REQUESTS_PER_KEY_", "OVERRIDE_TEMPERATURE_ZERO", "PROXY_DEBUG_LOG", "QUOTA_GROUPS_"),
    *("ROTATION_MODE_", "ROTATION_TOLERANCE", "SEQUENTIAL_FALLBACK_MULTIPLIER_", "SKIP_OAUTH_INIT_CHECK"),
    *(
        "SMALL_COOLDOWN_RETRY_THRESHOLD",
        "STREAM_RETRY_ON_REASONING_ONLY",
        "SUPPRESS_LITELLM_",
        "TIMEOUT_CONNECT",
        "TIMEOUT_POOL",
    ),
    *("TIMEOUT_READ_", "TIMEOUT_WRITE", "TRANSIENT_RETRY_", "WHITELIST_MODELS_"),
)


def unread(names: Collection[str], plugins: Collection[str]) -> list[str]:
    """A line if there are such names and no plugin that reads them."""
    found = sorted(name for name in names if name.startswith(_PREFIXES))
    if not found or PLUGIN in plugins:
        return []
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    package = f"proxy-plugin-{PLUGIN}"
    return [f"{found[0]}{more} will be used only with {package}: `pip install {package}`, or enable it"]
