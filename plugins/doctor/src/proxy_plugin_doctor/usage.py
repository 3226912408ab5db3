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
from msgspec import ValidationError, convert

from proxy_core import ProcessStatus, SetupError, UsageRow
from proxy_core.cli.api import (
    COUNTED,
    LoadedSettings,
    open_store,
    processes,
    read_settings,
    settings_options,
    statuses,
    summed,
    table,
)
from proxy_plugin_doctor.quotas import FORECAST, FORECAST_CSV, LEFT, forecast, forecast_objects, left, quotas_of

_ALWAYS = ("requests", "prompt", "completion")
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
@click.option(
    "--forecast", "ahead", is_flag=True, help="Show when each quota of the running proxy will be used up, instead."
)
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated values.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def command(
    config: Path | None,
    disable_plugin: tuple[str, ...],
    by: str,
    since: date,
    until: date,
    client: str | None,
    ahead: bool,
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
    if ahead:
        _forecast(loaded, as_csv, as_json)
        return
    all_rows = asyncio.run(_rows(loaded, since if as_json or as_csv else date.min, until))
    rows = [row for row in all_rows if row.day >= since]
    totals = summed([row for row in rows if client in (None, row.client)], names)
    head = (*names, *COUNTED)
    if as_json:
        click.echo(json.dumps([_object(names, key, row) for key, row in totals], indent=2))
    elif as_csv:
        click.echo(_csv([head, *((*key, *_counts(row)) for key, row in totals)]), nl=False)
    elif totals:
        click.echo(_table(names, totals))
    else:
        click.echo("no usage in this period")
    if not as_json and not as_csv and (line := _before(since, all_rows, client)):
        click.echo(f"\n{line}")
    if not as_json and not as_csv and (rows_left := left(quotas_of(statuses(loaded)))):
        click.echo(f"\n{table(LEFT, rows_left)}")


def _forecast(loaded: LoadedSettings, as_csv: bool, as_json: bool) -> None:
    try:
        found = [convert(status, ProcessStatus) for status in processes(loaded, "GET", "/admin/status")]
    except ValidationError:
        raise click.ClickException("the running proxy is of another version than this command; restart it") from None
    quotas = quotas_of(found)
    if as_json:
        click.echo(json.dumps(forecast_objects(quotas), indent=2))
    elif as_csv:
        objects = [{name: one[name] for name in FORECAST_CSV} for one in forecast_objects(quotas)]
        click.echo(_csv([FORECAST_CSV, *(list(one.values()) for one in objects)]), nl=False)
    else:
        rows = forecast(quotas, datetime.now(UTC))
        click.echo(table(FORECAST, rows) if rows else "no quota has been used yet")


def _table(names: Sequence[str], totals: Sequence[tuple[Sequence[object], UsageRow]]) -> str:
    """Without columns in which nothing is counted, of which there are many."""
    counted = [name for name in COUNTED if name in _ALWAYS or any(getattr(row, name) for _, row in totals)]
    rows = [(*map(str, key), *(_cell(getattr(row, name)) for name in counted)) for key, row in totals]
    return table((*names, *counted), rows)


def _before(since: date, rows: Sequence[UsageRow], client: str | None) -> str:
    """What came before the period, and how to see it: a key that has not been used since would seem to be unused."""
    old = [row for row in rows if row.day < since and client in (None, row.client)]
    if not old:
        return ""
    requests, first = sum(row.requests for row in old), min(row.day for row in old)
    return f"before {since}: {requests} requests, the last on {max(row.day for row in old)}; --since {first} shows them"


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
