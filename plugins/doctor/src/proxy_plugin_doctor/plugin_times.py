"""How long the functions of plugins take in the proxy that runs, and which of them it does not call for now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from proxy_core.cli.api import LoadedSettings, statuses, table
from proxy_plugin_doctor.findings import Finding


def times(loaded: LoadedSettings) -> list[dict[str, Any]]:
    """One row per function, of all processes together; none if no proxy is running."""
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for one in (time for status in statuses(loaded) for time in status.plugin_times):
        blank = {"calls": 0, "seconds": 0.0, "slowest_s": 0.0, "failures": 0, "breaker": "closed"}
        named = {"plugin": one.plugin, "role": one.role, "name": one.name}
        row = rows.setdefault((one.plugin, one.role, one.name), named | blank)
        row["calls"] += one.calls
        row["seconds"] += one.seconds
        row["failures"] += one.failures
        row["slowest_s"] = max(row["slowest_s"], one.slowest_s)
        row["breaker"] = one.breaker if one.breaker != "closed" else row["breaker"]
    return [rows[key] for key in sorted(rows)]


def of_running(loaded: LoadedSettings) -> Iterator[Finding]:
    """The functions of plugins that fail, or are too slow, in the proxy that runs."""
    for row in times(loaded):
        function = f"the {row['role'].replace('_', ' ')} {row['name']!r} of plugin {row['plugin']!r}"
        if row["failures"]:
            what = f"{function} failed in {row['failures']} of {row['calls']} calls since the proxy started"
            yield Finding(area="plugins", what=what, do="the proxy's log shows where; upgrade, fix or disable it")
        if row["breaker"] != "closed":
            slowest = f"its slowest call took {_ms(row['slowest_s'])}"
            what = f"the circuit breaker of {function} is {row['breaker']}: {slowest}"
            yield Finding(area="plugins", what=what, do="upgrade, fix or disable it, or raise [plugins] budget_s")


def times_table(rows: Sequence[dict[str, Any]]) -> str:
    head = ("plugin", "function", "calls", "mean", "slowest", "failed", "circuit breaker")
    return table(
        head,
        [
            (
                *(row["plugin"], f"{row['role'].replace('_', ' ')} {row['name']}", str(row["calls"])),
                *(_ms(row["seconds"] / row["calls"]), _ms(row["slowest_s"])),
                *(str(row["failures"]), row["breaker"]),
            )
            for row in rows
        ],
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.1 else f"{seconds * 1000:.2g} ms"
