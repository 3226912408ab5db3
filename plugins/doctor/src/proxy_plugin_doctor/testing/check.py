"""``proxy-core plugins check``: one plugin with its own settings, against what the core relies on."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import click
from msgspec import Struct, to_builtins

from proxy_core.cli.api import HOOKS, Catalog, Plugin, catalog_of, printable, read_settings, settings_options, table
from proxy_plugin_doctor.testing.changes import changes

if TYPE_CHECKING:
    from proxy_core.testing.conformance import Case

_SAMPLE = {
    "model": "provider/model",
    "stream": True,
    "messages": [
        {"role": "system", "content": "Answer briefly."},
        {
            "role": "user",
            "content": "I am Ann, ann@example.com, +1 202 555 0143; my key is sk-proj-0123456789abcdef01.",
        },
    ],
    "user": "ann",
    "metadata": {"ticket": "4711"},
}


class Result(Struct, frozen=True, kw_only=True):
    """One case of the conformance kit, for one object of the plugin. ``trace`` leads to the plugin's own lines."""

    object: str
    case: str
    result: Literal["passed", "failed", "not applicable"]
    seconds: float
    message: str = ""
    why: str = ""
    trace: Sequence[str] = ()


@click.command("check")
@click.argument("name")
@settings_options
@click.option("--request", type=click.Path(path_type=Path, exists=True), help="A chat request in JSON to try it with.")
@click.option("--all", "everything", is_flag=True, help="Also show the cases that passed or do not apply.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def command(
    name: str,
    config: Path | None,
    disable_plugin: tuple[str, ...],
    request: Path | None,
    everything: bool,
    as_json: bool,
) -> None:
    """Load the plugin NAME with its settings, run the conformance kit on what it provides, show what it would change.

    Nothing is sent over a network, nothing is written. The exit code is 1 if the plugin is not used or a case fails.
    """
    catalog = catalog_of(read_settings(config, disable_plugin), HOOKS)
    plugin = _found(name, catalog)
    results = [result for label, cases, subject in _subjects(plugin, catalog) for result in _run(label, cases, subject)]
    sample = json.loads(request.read_text(encoding="utf-8")) if request is not None else _SAMPLE
    changed = changes(plugin, sample) if plugin.state == "active" else []
    if as_json:
        found = {"plugin": _facts(plugin), "results": results, "changes": changed}
        click.echo(json.dumps(to_builtins(found), indent=2))
    else:
        _print(plugin, results, changed, everything)
    if plugin.state != "active" or any(result.result == "failed" for result in results):
        raise SystemExit(1)


def _found(name: str, catalog: Catalog) -> Plugin:
    plugins = {plugin.name: plugin for plugin in catalog.plugins}
    if name not in plugins:
        close = get_close_matches(name, plugins, n=1)
        raise click.UsageError(f"no plugin is named {name!r}" + (f"; did you mean {close[0]!r}?" if close else ""))
    return plugins[name]


# --- The conformance kit -----------------------------------------------------------------


def _subjects(plugin: Plugin, catalog: Catalog) -> Iterator[tuple[str, Sequence[Case[Any]], Any]]:
    """Each object of the plugin that the kit has cases for. A sink is left out: the cases write to it."""
    from proxy_core.testing import conformance as kit

    if plugin.state != "active":
        return
    dialects = [d for d in catalog.dialects.values() if catalog.owner("proxy_dialects", d.name) != "core"]
    for provider in plugin.provided.get("proxy_providers", ()):
        subject = kit.ProviderSubject(provider=provider, dialects=dialects)
        yield f"provider {provider.name}", [*kit.CONTRACT_CASES, *kit.PROVIDER_CASES], subject
    for sanitizer in plugin.provided.get("proxy_sanitizers", ()):
        yield f"sanitizer {sanitizer.name}", kit.SANITIZER_CASES, kit.SanitizerSubject(sanitizer=sanitizer)
    for redactor in plugin.provided.get("proxy_redactors", ()):
        yield f"redactor {redactor.name}", kit.REDACTOR_CASES, kit.RedactorSubject(redactor=redactor)
    for refresher in plugin.provided.get("proxy_credential_refreshers", ()):
        yield f"refresher {refresher.kind}", kit.REFRESHER_CASES, kit.RefresherSubject(refresher=refresher)
    for dialect in plugin.provided.get("proxy_dialects", ()):
        yield f"dialect {dialect.name}", kit.DIALECT_CASES, kit.DialectSubject(dialect=dialect)


def _run(label: str, cases: Sequence[Case[Any]], subject: Any) -> Iterator[Result]:
    from proxy_core.testing.conformance import run_case

    for case in cases:
        began = perf_counter()
        outcome = run_case(case, subject)
        failed = outcome.result == "failed"
        yield Result(
            object=label,
            case=case.name,
            result=outcome.result,
            seconds=perf_counter() - began,
            message=outcome.message,
            why=case.why if failed else "",
            trace=_own_lines(outcome.error) if failed and outcome.error is not None else (),
        )


def _own_lines(error: BaseException) -> list[str]:
    """The traceback without the core and its kit; of a case that only found something wrong, nothing is left."""
    first: BaseException = error
    while first.__cause__ is not None:
        first = first.__cause__
    frames = traceback.extract_tb(first.__traceback__)
    own = [frame for frame in frames if "/proxy_core/" not in frame.filename and "/asyncio/" not in frame.filename]
    return traceback.format_list(own)


# --- Output ------------------------------------------------------------------------------


def _facts(plugin: Plugin) -> dict[str, Any]:
    return {
        "name": plugin.name,
        "version": plugin.version,
        "distribution": plugin.distribution,
        "state": plugin.state,
        "reason": plugin.reason,
        "load_ms": round(plugin.load_s * 1000, 1),
        "provides": {hook: [_label(item) for item in items] for hook, items in plugin.provided.items()},
        "trace": _trace(plugin),
    }


def _label(item: object) -> str:
    for name in ("name", "kind", "scheme", "path"):
        if isinstance(found := getattr(item, name, None), str):
            return found
    return type(item).__name__


def _trace(plugin: Plugin) -> list[str]:
    """Only the lines: the exception's message, without secrets, is the reason."""
    trace: TracebackType | None = plugin.error.__traceback__ if plugin.error is not None else None
    return traceback.format_tb(trace)


def _print(plugin: Plugin, results: Sequence[Result], changed: Sequence[str], everything: bool) -> None:
    facts = _facts(plugin)
    about = f" from {plugin.distribution} {plugin.version}" if plugin.distribution else ""
    click.echo(f"{plugin.name}{about}: {plugin.state}, loaded in {facts['load_ms']:.0f} ms")
    if plugin.reason:
        click.echo("".join(facts["trace"]) + f"problem: {printable(plugin.reason)}")
    for hook, names in facts["provides"].items():
        click.echo(f"  {hook.removeprefix('proxy_')}: {printable(', '.join(names)) or 'nothing, with these settings'}")
    shown = [result for result in results if everything or result.result == "failed"]
    if shown:
        rows = [(r.object, r.case, r.result, f"{r.seconds:.2f} s", r.message) for r in shown]
        click.echo("\n" + table(("object", "case", "result", "took", "message"), rows))
    for result in shown:
        if result.result == "failed":
            click.echo(f"\n{result.object}, {result.case}: {result.why}")
            click.echo("".join(result.trace).rstrip(), nl=bool(result.trace))
    if changed:
        click.echo("\nwith a sample request:")
        for line in changed:
            click.echo(f"  {printable(line)}")
    click.echo("\n" + _summary(results))


def _summary(results: Sequence[Result]) -> str:
    if not results:
        return "the conformance kit has no case for what it provides"
    count = {word: sum(r.result == word for r in results) for word in ("passed", "failed", "not applicable")}
    took = sum(result.seconds for result in results)
    more = "; --all shows why" if count["not applicable"] else ""
    return ", ".join(f"{number} {word}" for word, number in count.items()) + f"{more} ({took:.1f} s)"
