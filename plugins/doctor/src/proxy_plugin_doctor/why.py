"""``proxy-core why MODEL``: which credentials can serve a model now, and why the others cannot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from proxy_core.cli.api import printable, processes, read_settings, settings_options, table


@click.command("why")
@settings_options
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def command(config: Path | None, disable_plugin: tuple[str, ...], model: str, as_json: bool) -> None:
    """Show for each credential of MODEL whether the running proxy would use it, and if not, why and until when."""
    found = processes(read_settings(config, disable_plugin), "GET", f"/admin/why?model={quote(model, safe='')}")
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for process in found:
        if len(found) > 1:
            click.echo(f"process {process['process']}")
        for deployment in process["deployments"]:
            click.echo("\n".join(_described(deployment)) + "\n")


def _described(deployment: dict[str, Any]) -> Iterator[str]:
    group = f", quota group {deployment['quota_group']}" if deployment["quota_group"] else ""
    yield f"{deployment['deployment']} ({deployment['selector']}{group})"
    outage = deployment["outage"]
    if outage:
        message = printable(_said(outage))
        yield f"  circuit breaker open since {outage['since']}, next probe at {outage['next_probe']}: {message}"
    if not deployment["credentials"]:
        yield "  no credential is configured"
        return
    rows = [_row(credential) for credential in deployment["credentials"]]
    head = ("credential", "from", "tier", "state", "now", "used", "since", "until", "next probe", "why")
    yield from ("  " + line for line in table(head, rows).splitlines())


def _said(cooldown: dict[str, Any]) -> str:
    """Without a redactor, the proxy shows nothing that an upstream said."""
    return str(cooldown["upstream_message"] or cooldown["code"])


def _row(credential: dict[str, Any]) -> tuple[str, ...]:
    cooldown = max(credential["cooldowns"], key=lambda c: c["until"], default=None)
    windows, reserved = [credential, *credential["windows"]], credential["reserved"]
    until = max((window["capped_until"] for window in windows if window["capped_until"]), default="-")
    because = credential["why"] or "-"
    if cooldown:
        until, because = cooldown["until"], f"{_said(cooldown)} (for {cooldown['scope']})"
    elif reserved:
        until, because = reserved["until"] or "-", f"kept for {', '.join(reserved['for'])}"
    return (
        credential["id"],
        credential["label"],
        f"{credential['tier'] or '-'} ({credential['priority']})",
        credential["state"],
        str(credential["in_flight"]),
        ", ".join(map(_used, windows)),
        cooldown["since"] if cooldown else "-",
        until,
        cooldown["next_probe"] if cooldown else "-",
        because,
    )


def _used(window: dict[str, Any]) -> str:
    """``3/10``; of a further window with its name behind it: ``3/10 small (weekly)``."""
    limit = f"/{window['limit']:.0f}" if window["limit"] else ""
    return f"{window['used']}{limit} {window.get('name', '')}".rstrip()
