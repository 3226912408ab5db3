"""``proxy-core usage``: usage by client, provider, credential and model, read from the store."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import click

from proxy_core import QuotaStatus, SetupError, UsageRow
from proxy_core.cli.api import (
    COUNTED,
    LoadedSettings,
    open_store,
    read_settings,
    settings_options,
    statuses,
    summed,
    table,
)

_QUOTA = ("provider", "credential", "quota", "tier", "used", "limit", "left", "resets")
_BY = ("day", "client", "provider", "credential", "model")


def _day(ctx: click.Context, param: click.Parameter, text: str) -> date:
    """``2026-11-24``, ``today``, or ``7d`` for the last seven days."""
    today = datetime.now(UTC).date()
    if text == "today":
        return today
    try:
        if text.endswith("d") and int(text[:-1]) > 0:
            return today - timedelta(days=int(text[:-1]) - 1)
        return date.fromisoformat(text)
    except (ValueError, OverflowError):
        raise click.BadParameter("write a day as 2026-11-24, today, or 7d for the last seven days") from None


@click.command("usage")
@settings_options
@click.option(
    "--by", default="day,provider,model", show_default=True, help=f"Any of {', '.join(_BY)}, separated by commas."
)
@click.option("--since", callback=_day, default="30d", show_default=True, help="First day (UTC): 2026-11-24, 7d.")
@click.option("--until", callback=_day, default="today", show_default=True, help="Last day (UTC).")
@click.option("--client", help="Only this client's usage.")
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated values.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def command(
    config: Path | None,
    disable_plugin: tuple[str, ...],
    by: str,
    since: date,
    until: date,
    client: str | None,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Show requests, attempts, tokens and cost. This needs no running proxy.

    If a proxy is running, a second table shows its credentials' quotas.
    """
    names = [name.strip() for name in by.split(",")]
    if unknown := [name for name in names if name not in _BY]:
        raise click.BadParameter(f"{unknown[0]!r} is not one of {', '.join(_BY)}", param_hint="--by")
    if since > until:
        raise click.BadParameter(f"{since} is after --until {until}", param_hint="--since")
    loaded = read_settings(config, disable_plugin)
    rows = asyncio.run(_rows(loaded, since, until))
    totals = summed([row for row in rows if client in (None, row.client)], names)
    head = (*names, *COUNTED)
    if as_json:
        click.echo(json.dumps([_object(names, key, row) for key, row in totals], indent=2))
    elif as_csv:
        click.echo(_csv([head, *((*key, *_counts(row)) for key, row in totals)]), nl=False)
    elif totals:
        click.echo(table(head, [(*map(str, key), *map(_cell, _counts(row))) for key, row in totals]))
    else:
        click.echo("no usage in this period")
    if not as_json and not as_csv and (left := _quotas(loaded)):
        click.echo(f"\n{table(_QUOTA, left)}")


def _quotas(loaded: LoadedSettings) -> list[tuple[str, ...]]:
    """Quota windows; of several processes, the figures of the one with the highest count, which is the latest."""
    found: dict[tuple[str, str, str], tuple[str | None, QuotaStatus]] = {}
    for provider in (provider for status in statuses(loaded) for provider in status.providers):
        for credential in provider.credentials:
            for quota in credential.quotas:
                key = (provider.name, credential.id, quota.name)
                if quota.resets_at is not None and (key not in found or found[key][1].used < quota.used):
                    found[key] = credential.tier, quota
    return [(*key, *_window(*one)) for key, one in sorted(found.items(), key=lambda item: item[0])]


def _window(tier: str | None, quota: QuotaStatus) -> tuple[str, ...]:
    left = f"{max(0.0, 1 - quota.used / quota.limit):.0%}" if quota.limit else "-"
    resets = quota.resets_at.isoformat(timespec="seconds") if quota.resets_at is not None else "-"
    return (tier or "-", str(quota.used), f"{quota.limit:.0f}" if quota.limit else "-", left, resets)


async def _rows(loaded: LoadedSettings, since: date, until: date) -> Sequence[UsageRow]:
    configured = loaded.settings.state.url
    if configured is not None and configured.get_secret_value().startswith("memory:"):
        raise click.ClickException(
            "usage is kept in memory only (state.url = memory:); use GET /v1/quota-stats of the running proxy"
        )
    try:
        backend = await open_store(loaded)
        try:
            return await backend.usage(since, until)
        finally:
            await backend.close()
    except SetupError:
        raise
    except Exception as error:  # a store may fail in any way
        raise click.ClickException(f"the state store cannot be read: {error}") from error


def _counts(row: UsageRow) -> list[float]:
    return [getattr(row, name) for name in COUNTED]


def _cell(value: float) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _object(names: Sequence[str], key: tuple[object, ...], row: UsageRow) -> dict[str, object]:
    return {**dict(zip(names, map(str, key), strict=True)), **dict(zip(COUNTED, _counts(row), strict=True))}


def _csv(rows: Sequence[Sequence[object]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()
