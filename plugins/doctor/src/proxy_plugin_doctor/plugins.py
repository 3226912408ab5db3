"""``proxy-core plugins``: installed plugins, their state, and the order in which they run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from proxy_core import Provider
from proxy_core.cli.api import HOOKS, Catalog, Plugin, catalog_of, read_settings, settings_options, table
from proxy_plugin_doctor import audit
from proxy_plugin_doctor.plugin_times import times, times_table
from proxy_plugin_doctor.testing import check


@click.group("plugins", invoke_without_command=True)
@settings_options
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
@click.pass_context
def command(context: click.Context, config: Path | None, disable_plugin: tuple[str, ...], as_json: bool) -> None:
    """List installed plugins with their state, and why one is not used."""
    if context.invoked_subcommand is None:
        _list(config, disable_plugin, as_json)


command.add_command(audit.command)
command.add_command(check.command)


def _list(config: Path | None, disable_plugin: Sequence[str], as_json: bool) -> None:
    loaded = read_settings(config, disable_plugin)
    catalog, running = catalog_of(loaded, HOOKS), times(loaded)
    rows = [_described(plugin, catalog) for plugin in catalog.plugins]
    chains = {
        "sanitizers": [s.name for s in catalog.sanitizers],
        "redactors": [r.name for r in catalog.redactors],
    }
    if as_json:
        click.echo(json.dumps({"plugins": rows, "chains": chains, "times": running}, indent=2))
        return
    click.echo(_plugin_table(rows))
    providers = [p for row in rows for p in row["providers"]]
    if providers:
        click.echo("\n" + _provider_table(providers))
    for name, chain in chains.items():
        if chain:
            click.echo(f"\n{name}, in order: {', '.join(chain)}")
    if running:
        click.echo("\n" + times_table(running))


def _described(plugin: Plugin, catalog: Catalog) -> dict[str, Any]:
    return {
        "name": plugin.name,
        "version": plugin.version,
        "distribution": plugin.distribution,
        "api": plugin.api,
        "state": plugin.state,
        "reason": plugin.reason,
        "hooks": list(plugin.hooks),
        "order": _order(plugin, catalog),
        "load_ms": round(plugin.load_s * 1000, 1),
        "providers": [_provider(p) for p in plugin.provided.get("proxy_providers", ())],
    }


def _order(plugin: Plugin, catalog: Catalog) -> dict[str, list[int]]:
    """Positions, from 1, of this plugin's objects in each ordered chain."""
    chains = {
        "proxy_sanitizers": [s.name for s in catalog.sanitizers],
        "proxy_redactors": [r.name for r in catalog.redactors],
    }
    places = {
        hook: [i for i, name in enumerate(chain, 1) if catalog.owner(hook, name) == plugin.name]
        for hook, chain in chains.items()
    }
    return {hook: found for hook, found in places.items() if found}


def _provider(provider: Provider) -> dict[str, Any]:
    life = provider.lifecycle
    return {
        "name": provider.name,
        "dialects": list(provider.dialects),
        "status": life.status,
        "until": life.until.isoformat() if life.until else None,
        "note": life.note,
        "link": life.link,
    }


def _plugin_table(rows: list[dict[str, Any]]) -> str:
    head = ("plugin", "version", "distribution", "api", "state", "load", "hooks", "order", "reason")
    return table(
        head,
        [
            (
                *(row["name"], row["version"] or "-", row["distribution"] or "-", str(row["api"] or "-"), row["state"]),
                f"{row['load_ms']:.0f} ms",
                ", ".join(h.removeprefix("proxy_") for h in row["hooks"]) or "-",
                ", ".join(f"{h.removeprefix('proxy_')} {','.join(map(str, p))}" for h, p in row["order"].items())
                or "-",
                row["reason"],
            )
            for row in rows
        ],
    )


def _provider_table(providers: list[dict[str, Any]]) -> str:
    head = ("provider", "status", "until", "dialects", "note")
    return table(
        head,
        [
            (
                *(p["name"], p["status"], p["until"] or "-", ", ".join(p["dialects"]) or "own"),
                f"{p['note']} {p['link']}".strip(),
            )
            for p in providers
        ],
    )
