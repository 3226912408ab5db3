"""``proxy-core doctor``: find problems in this installation and say how to fix them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from proxy_core import SetupError
from proxy_core.cli.api import (
    Catalog,
    LoadedSettings,
    catalog_of,
    lines_of,
    printable,
    settings_options,
    table,
    to_mend,
)
from proxy_plugin_accounts import Accounts, accounts_of, open_accounts
from proxy_plugin_doctor.config import check_settings, checked, described
from proxy_plugin_doctor.effective import effective_values, stray
from proxy_plugin_doctor.findings import (
    Finding,
    of_checks,
    of_credentials,
    of_files,
    of_providers,
    of_serving,
    of_sockets,
    of_store,
)
from proxy_plugin_doctor.plugin_times import of_running

_OR_ELSE = "the proxy does not start, or starts without it"


@click.command("doctor")
@settings_options
@click.option("--upstreams", is_flag=True, help="Also check that each upstream answers and that its clock agrees.")
@click.option("--fix", is_flag=True, help="Fix file modes, and delete what killed processes left behind.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def command(config: Path | None, disable_plugin: tuple[str, ...], upstreams: bool, fix: bool, as_json: bool) -> None:
    """Check settings, plugins, credentials, files and the store. The exit code is 1 if there are problems.

    Nothing is sent over the network without --upstreams; even then, no credential is sent.
    """
    problems, warnings = checked(config, disable_plugin)
    findings = _of_settings(problems)
    settings: list[dict[str, str]] = []
    plugins: list[dict[str, Any]] = []
    try:
        accounts = open_accounts(config, disable_plugin)
        catalog = catalog_of(accounts.loaded)
        settings = [described(value) for value in effective_values(accounts.loaded, catalog)]
    except SetupError:
        pass  # reported above
    else:
        plugins = [{"name": p.name, "state": p.state, "reason": p.reason} for p in catalog.plugins]
        findings += _inspected(accounts, catalog, problems, warnings)
        if upstreams:
            from proxy_plugin_doctor.upstream_check import of_upstreams

            findings += of_upstreams(accounts)
    lines = [_handled(finding, fix) for finding in findings]
    if as_json:
        click.echo(json.dumps({"settings": settings, "plugins": plugins, "findings": lines}, indent=2))
    else:
        _print(settings, plugins, lines)
    if any(line["level"] == "problem" for line in lines):
        raise SystemExit(1)


def findings_of(read: Callable[[], LoadedSettings]) -> list[Finding]:
    """What the command finds for the settings that ``read`` returns, or why it raises ``SetupError``.

    Nothing is sent over the network. In a thread: it waits for the store and for other processes.
    """
    problems: Sequence[str] = ()
    try:
        loaded = read()
        problems, warnings = check_settings(loaded)
        accounts, catalog = accounts_of(loaded), catalog_of(loaded)
    except SetupError as error:
        return _of_settings(problems or lines_of(error))
    return [*_of_settings(problems), *_inspected(accounts, catalog, problems, warnings)]


def _of_settings(problems: Sequence[str]) -> list[Finding]:
    return [
        Finding(area="settings", what=line, do=f"{'' if ': fix it, ' in line else 'fix it; '}{_OR_ELSE}")
        for line in problems
    ]


def _inspected(
    accounts: Accounts, catalog: Catalog, problems: Sequence[str], warnings: Sequence[str]
) -> Iterator[Finding]:
    misspelled = stray(accounts.loaded, catalog)
    known = [f"plugin {p.name} is not used: {p.reason}" for p in catalog.plugins]
    for line in misspelled:
        quiet = not line.endswith("sets nothing: no such setting")
        yield Finding(area="settings", what=line, do="" if quiet else "correct its name or unset it", note=quiet)
    mistakes = to_mend(accounts.loaded, catalog, warnings)
    for line in warnings:
        if line not in misspelled and line not in known:
            yield Finding(area="settings", what=line, note=line not in mistakes)
    for plugin in catalog.plugins:
        told = plugin.reason and any(plugin.name in line and plugin.reason in line for line in problems)
        if plugin.state != "active" and not told:
            quiet = plugin.state != "skipped"
            what = f"{plugin.name} is {plugin.state}: {plugin.reason}"
            yield Finding(area="plugins", what=what, do="" if quiet else "fix or disable it", note=quiet)
    yield from of_files(accounts)
    yield from of_credentials(accounts)
    yield from of_providers(accounts)
    yield from of_sockets(accounts.loaded)
    yield from of_running(accounts.loaded)  # after them, because to ask a proxy deletes sockets of dead processes
    yield from of_serving(accounts.loaded)
    yield from of_store(accounts.loaded)
    yield from of_checks(catalog.checks)


def _handled(finding: Finding, fix: bool) -> dict[str, str]:
    """The finding as printed; with ``fix`` it is fixed first, if possible."""
    level = "note" if finding.note else "problem"
    if fix and finding.fix is not None:
        try:
            finding.fix()
            level = "fixed"
        except OSError as error:
            return {"level": level, "area": finding.area, "what": finding.what, "do": f"{error.strerror}: {finding.do}"}
    return {"level": level, "area": finding.area, "what": finding.what, "do": finding.do}


def _print(settings: list[dict[str, str]], plugins: list[dict[str, Any]], lines: list[dict[str, str]]) -> None:
    if settings:
        click.echo(table(("setting", "value", "from"), [(s["key"], s["value"], s["origin"]) for s in settings]) + "\n")
    if plugins:
        active = ", ".join(p["name"] for p in plugins if p["state"] == "active")
        click.echo(f"active plugins: {active or 'none'}\n")
    for line in lines:
        do = f"; {line['do']}" if line["do"] else ""
        click.echo(f"{line['level']}: {line['area']}: {printable(line['what'] + do)}")
    count = sum(line["level"] == "problem" for line in lines)
    click.echo(f"{count} problem{'s' if count > 1 else ''} to fix" if count else "no problems found")
