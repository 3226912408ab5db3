"""``proxy-core plugins check``: one plugin with its own settings, against what the core relies on."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from textwrap import fill
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click
from msgspec import Struct, to_builtins

from proxy_core.cli.api import HOOKS, Catalog, Plugin, catalog_of, printable, read_settings, settings_options, table
from proxy_plugin_doctor.testing.changes import Change, Trial
from proxy_plugin_doctor.testing.results import Cause, Result, causes, run
from proxy_plugin_doctor.testing.samples import Samples, request_of

if TYPE_CHECKING:
    from proxy_core.testing.conformance import Case

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
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


@click.command("check")
@click.argument("name")
@settings_options
@click.option("--request", type=FILE, help="A chat request in JSON to try it with.")
@click.option("--stream-sample", type=FILE, help="A streamed response of its upstream, if its format is its own.")
@click.option("--plain-sample", type=FILE, help="The same for a client that does not stream.")
@click.option("--all", "everything", is_flag=True, help="Also show the cases that passed or do not apply.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def command(
    name: str,
    config: Path | None,
    disable_plugin: tuple[str, ...],
    request: Path | None,
    stream_sample: Path | None,
    plain_sample: Path | None,
    everything: bool,
    as_json: bool,
) -> None:
    """Load the plugin NAME with its settings, run the conformance kit on what it provides, show what it would change.

    Nothing is sent over a network, nothing is written. The exit code is 1 if the plugin is not used, a case fails, a
    call takes longer than the budget, or responses in a format of its own could not be tried for want of a sample.
    """
    loaded = read_settings(config, disable_plugin)
    catalog = catalog_of(loaded, HOOKS)
    sample = json.loads(request.read_text(encoding="utf-8")) if request is not None else _SAMPLE
    trial = Trial(body=sample, dialects=list(catalog.dialects.values()), budget_s=loaded.settings.plugins.budget_s)
    found = _check(_found(name, catalog), catalog, Samples(stream=stream_sample, plain=plain_sample), trial)
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=2))
    else:
        _print(found, everything)
    if not found.good:
        raise SystemExit(1)


class Checked(Struct, frozen=True, kw_only=True):
    """``untried`` names providers whose responses could not be read, because no sample of their format was given."""

    plugin: Plugin
    results: Sequence[Result]
    changes: Sequence[Change]
    untried: Sequence[str]

    @property
    def good(self) -> bool:
        failed = any(result.result == "failed" for result in self.results) or bool(self.untried)
        return self.plugin.state == "active" and not failed and not any(one.over_budget for one in self.changes)

    def as_json(self) -> dict[str, Any]:
        over = [change.text for change in self.changes if change.over_budget]
        found = {"plugin": _facts(self.plugin), "results": to_builtins(self.results), "untried": list(self.untried)}
        return {**found, "changes": list(map(str, self.changes)), "over_budget": over}


def _check(plugin: Plugin, catalog: Catalog, samples: Samples, trial: Trial) -> Checked:
    if plugin.state != "active":
        return Checked(plugin=plugin, results=(), changes=(), untried=())
    subjects = list(_subjects(plugin, catalog, samples))
    results = [result for label, cases, subject in subjects for result in run(label, cases, subject)]
    changes = list(trial.changes(plugin))
    untried = [label for label, _, subject in subjects if _has_no_sample(subject)]
    return Checked(plugin=plugin, results=results, changes=changes, untried=untried)


def _found(name: str, catalog: Catalog) -> Plugin:
    plugins = {plugin.name: plugin for plugin in catalog.plugins}
    if name not in plugins:
        close = get_close_matches(name, plugins, n=1)
        raise click.UsageError(f"no plugin is named {name!r}" + (f"; did you mean {close[0]!r}?" if close else ""))
    return plugins[name]


# --- The conformance kit -----------------------------------------------------------------


def _has_no_sample(subject: Any) -> bool:
    provider = getattr(subject, "provider", None)
    return provider is not None and subject.wire is None and "openai_chat" not in provider.dialects


def _subjects(plugin: Plugin, catalog: Catalog, samples: Samples) -> Iterator[tuple[str, Sequence[Case[Any]], Any]]:
    """Each object of the plugin that the kit has cases for. A sink is left out: the cases write to it."""
    import proxy_core.testing.conformance as kit

    dialects = [d for d in catalog.dialects.values() if catalog.owner("proxy_dialects", d.name) != "core"]
    for provider in plugin.provided.get("proxy_providers", ()):
        wire = samples.wire(provider, dialects)
        subject = kit.ProviderSubject(provider=provider, dialects=dialects, wire=wire)
        yield f"provider {provider.name}", [*kit.CONTRACT_CASES, *kit.PROVIDER_CASES], subject
    for sanitizer in plugin.provided.get("proxy_sanitizers", ()):
        yield f"sanitizer {sanitizer.name}", kit.SANITIZER_CASES, kit.SanitizerSubject(sanitizer=sanitizer)
    for redactor in plugin.provided.get("proxy_redactors", ()):
        yield f"redactor {redactor.name}", kit.REDACTOR_CASES, kit.RedactorSubject(redactor=redactor)
    for refresher in plugin.provided.get("proxy_credential_refreshers", ()):
        yield f"refresher {refresher.kind}", kit.REFRESHER_CASES, kit.RefresherSubject(refresher=refresher)
    for dialect in plugin.provided.get("proxy_dialects", ()):
        asked = kit.DialectSubject(dialect=dialect, requests=request_of(dialect, _SAMPLE))
        yield f"dialect {dialect.name}", kit.DIALECT_CASES, asked


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


def _print(found: Checked, everything: bool) -> None:
    _print_facts(found.plugin)
    failures = causes(found.results)
    rows = [(cause.object, _cases(cause), "failed", _took(cause.results), cause.message) for cause in failures]
    if everything:
        rows += [(r.object, r.case, r.result, _took([r]), r.message) for r in found.results if r.result != "failed"]
    if rows:
        click.echo("\n" + table(("object", "case", "result", "took", "message"), rows))
    for cause in failures:
        _print_cause(cause)
    if found.changes:
        click.echo("\nwith a sample request:")
        for change in found.changes:
            click.echo(f"  {printable(str(change))}")
    click.echo(
        "\n" + (_summary(found.results) if found.plugin.state == "active" else "nothing was tried: it is not used")
    )
    for label in found.untried:
        click.echo(f"{label}: its responses were not tried; give a recorded one: --stream-sample FILE")
    if over := sum(change.over_budget for change in found.changes):
        click.echo(
            f"{over} over budget ([plugins] budget_s): the proxy would stop calling {'it' if over == 1 else 'them'}"
        )


def _print_facts(plugin: Plugin) -> None:
    facts = _facts(plugin)
    about = f" from {plugin.distribution} {plugin.version}" if plugin.distribution else ""
    click.echo(f"{plugin.name}{about}: {plugin.state}, loaded in {facts['load_ms']:.0f} ms")
    if plugin.reason:
        click.echo("".join(facts["trace"]) + f"problem: {printable(plugin.reason)}")
    for hook, names in facts["provides"].items():
        click.echo(f"  {hook.removeprefix('proxy_')}: {printable(', '.join(names)) or 'nothing, with these settings'}")


def _cases(cause: Cause) -> str:
    more = len(cause.results) - 1
    return cause.results[0].case + (f", and {more} more" if more else "")


def _took(results: Sequence[Result]) -> str:
    return f"{sum(result.seconds for result in results):.2f} s"


def _print_cause(cause: Cause) -> None:
    first, *more = cause.results
    click.echo(f"\n{cause.object}, {first.case}: {first.why}")
    click.echo("".join(cause.trace).rstrip(), nl=bool(cause.trace))
    if more:
        names = f"for the same reason: {', '.join(result.case for result in more)}"
        click.echo(fill(names, width=110, initial_indent="  ", subsequent_indent="    "))


def _summary(results: Sequence[Result]) -> str:
    if not results:
        return "the conformance kit has no case for what it provides"
    count = {word: sum(r.result == word for r in results) for word in ("passed", "failed", "not applicable")}
    took = sum(result.seconds for result in results)
    more = "; --all shows why" if count["not applicable"] else ""
    return ", ".join(f"{number} {word}" for word, number in count.items()) + f"{more} ({took:.1f} s)"
