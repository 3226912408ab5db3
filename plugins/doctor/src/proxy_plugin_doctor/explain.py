"""``proxy-core explain``: how a request was routed, or would be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from proxy_core import ProxyError
from proxy_core.cli.api import (
    LoadedSettings,
    NotRunning,
    dry_run,
    printable,
    processes,
    query,
    read_settings,
    settings_options,
)
from proxy_plugin_doctor.quotas import long

#: From this many seconds on, a wait is told in minutes.
_LONG_S = 120


@click.command("explain")
@settings_options
@click.argument("request_id", required=False)
@click.option("--dry-run", "dry", is_flag=True, help="Show how a request would be routed, without sending it.")
@click.option("--model", help="With --dry-run: the model to request.")
@click.option("--client", help="With --dry-run: the client that requests it; unset: one that nothing is kept for.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def command(
    config: Path | None,
    disable_plugin: tuple[str, ...],
    request_id: str | None,
    dry: bool,
    model: str | None,
    client: str | None,
    as_json: bool,
) -> None:
    """Explain how the request REQUEST_ID (the X-Request-ID of its response) was routed.

    With --dry-run, show how a request would be routed now.
    """
    loaded = read_settings(config, disable_plugin)
    if dry == bool(request_id) or dry != bool(model):
        raise click.UsageError("give either REQUEST_ID, or --dry-run with --model")
    if request_id is not None:
        record = query(loaded, "GET", f"/admin/explain/{quote(request_id, safe='')}?local=1")[0]
        click.echo(json.dumps(record, indent=2) if as_json else "\n".join(_explained(record)))
        return
    found = _dry(loaded, {"model": model} | ({"client": client} if client else {}))
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for process in found:
        click.echo("\n".join(_planned(process)))


def _dry(loaded: LoadedSettings, body: dict[str, Any]) -> list[Any]:
    """Ask the running proxy; if there is none, compose one for this, which has no cooldowns."""
    try:
        return processes(loaded, "POST", "/admin/explain", body)
    except NotRunning:
        click.echo("no proxy is running; this is the routing without any cooldowns", err=True)
    try:
        return [{"process": None, **dry_run(loaded, body)}]
    except ProxyError as error:
        raise click.ClickException(error.message) from None


def _explained(record: dict[str, Any]) -> Iterator[str]:
    model = printable(record["model"])
    yield f"{record['id']}: {model} for {record['client']}, {record['dialect']}, {record['started_at']}"
    error = f" ({record['error']})" if record["error"] else ""
    cause = f": {printable(record['cause'])}" if record.get("cause") else ""
    yield f"ended {record['status']} {record['outcome']}{error} after {record['duration_s']} s{cause}"
    if record["changed_by"]:
        yield f"changed by: {', '.join(record['changed_by'])}"
    for decision in record["decisions"]:
        yield from _decision(decision)
    for number, attempt in enumerate(record["attempts"], 1):
        fault = f", fault of the {attempt['fault']}" if attempt["fault"] else ""
        cause = f": {attempt['cause']}" if "cause" in attempt else ""
        yield (
            f"attempt {number}: {printable(attempt['deployment'])} with {attempt['credential']}, "
            f"{attempt['status'] or 'no status'}{fault}, {attempt['duration_s']} s{cause}"
        )


def _planned(process: dict[str, Any]) -> Iterator[str]:
    if process["changed_by"]:
        yield f"changed by: {', '.join(process['changed_by'])}"
    for step in process["steps"]:
        yield from _decision(step)
        for key in ("would_send", "cannot"):
            if key in step:
                yield f"    {key.replace('_', ' ')}: {printable(step[key])}"


def _left(duration_s: float) -> str:
    return f"{duration_s} s" if duration_s < _LONG_S else long(duration_s)


def _decision(decision: dict[str, Any]) -> Iterator[str]:
    at = f"at {decision['at_s']} s: " if "at_s" in decision else ""
    chosen = decision["chosen"] or "none"
    probe = " as a probe" if decision.get("probe") else ""
    yield f"{at}{printable(decision['deployment'])}: {decision.get('candidates', 0)} usable, chosen: {chosen}{probe}"
    if "outage_s" in decision:
        yield f"    the provider's circuit breaker is open for another {_left(decision['outage_s'])}"
    for one in decision.get("excluded", ()):
        left = f" for another {_left(one['left_s'])}" if "left_s" in one else ""
        message = f": {printable(one['upstream_message'])}" if "upstream_message" in one else ""
        yield f"    excluded {one['credential']}: {one['reason']}{left}{message}"
    if "unnamed" in decision:
        yield f"    excluded {decision['unnamed']} more"
