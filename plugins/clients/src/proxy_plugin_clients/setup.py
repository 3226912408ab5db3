"""``proxy-core setup``: a client's configuration for this proxy, printed or written."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import click

from proxy_core import SetupError
from proxy_core.cli.api import (
    LoadedSettings,
    catalog_of,
    printable,
    read_settings,
    settings_options,
    table,
    unknown_models,
)
from proxy_plugin_clients.agents import AGENTS
from proxy_plugin_clients.endpoint import PLACEHOLDER, Endpoint, Key, endpoint_of, powershell_word
from proxy_plugin_clients.libraries import LIBRARIES
from proxy_plugin_clients.merging import example
from proxy_plugin_clients.program import ClientProgram, Configuration
from proxy_plugin_clients.rivals import reported, settled
from proxy_plugin_clients.writing import change_of, write

PROGRAMS: Mapping[str, ClientProgram] = {program.name: program for program in (*AGENTS, *LIBRARIES)}
_PACKAGES = {
    "anthropic_messages": "proxy-plugin-anthropic",
    "openai_responses": "proxy-plugin-openai-responses",
    "gemini": "proxy-plugin-gemini",
}
_CHOOSE = "choose one with --model NAME (`proxy-core models` lists them)"


@click.command("setup")
@settings_options
@click.argument("name", required=False, metavar="[CLIENT]")
@click.option("--url", help="The proxy's URL, if it is not that of the running one or of the settings.")
@click.option("--client", metavar="NAME", help="Whose key to use: a name from [clients].")
@click.option("--key-file", type=click.Path(path_type=Path), help="A file with the key, for a proxy elsewhere.")
@click.option("--model", "models", multiple=True, metavar="NAME", help="A model to use; the first is the default one.")
@click.option("--write", "to_write", is_flag=True, help="Write the files, after showing the difference and asking.")
@click.option("--yes", is_flag=True, help="With --write: do not ask.")
def command(
    config: Path | None,
    disable_plugin: tuple[str, ...],
    name: str | None,
    url: str | None,
    client: str | None,
    key_file: Path | None,
    models: tuple[str, ...],
    to_write: bool,
    yes: bool,
) -> None:
    """Show the configuration of CLIENT for this proxy; without CLIENT, list the known ones.

    The proxy need not run. Keys are not shown: a client gets its key from a file or a command.
    """
    if name is None:
        click.echo(table(("client", "is", "dialect"), [(p.name, p.title, p.dialect) for p in PROGRAMS.values()]))
        return
    program = PROGRAMS.get(name)
    if program is None:
        raise click.UsageError(f"no client {name!r}; the known ones are {', '.join(PROGRAMS)}")
    loaded = read_settings(config, disable_plugin)
    endpoint = endpoint_of(loaded, url=url, client=client, key_file=key_file, models=models)
    configuration = settled(program, program.configure(endpoint))
    if to_write:
        _write(configuration, yes)
    lines = [*shown(program, configuration, endpoint, written=to_write), *_advice(program, configuration, endpoint)]
    if url is None:
        lines += _missing(program, configuration, endpoint, loaded, client)
    click.echo("\n".join(lines))


def recipe(loaded: LoadedSettings, program: ClientProgram, models: Sequence[str]) -> str:
    """The configuration of a client for the proxy of these settings. Raises ``ClickException``."""
    endpoint = endpoint_of(loaded, models=models)
    configuration = settled(program, program.configure(endpoint))
    about = (program, configuration, endpoint)
    chosen = "".join(f" --model {shlex.quote(model)}" for model in models)
    writes = [f"# To write this: proxy-core setup {program.name}{chosen} --write"] if configuration.files else []
    return "\n".join([*shown(*about), *writes, *_advice(*about), *_missing(*about, loaded, None)])


def _write(configuration: Configuration, yes: bool) -> None:
    """Every file is read before the first is written, so that a broken one changes nothing."""
    if not configuration.files:
        raise click.UsageError("this client reads no file; without --write, its variables and lines are shown")
    if PLACEHOLDER in configuration.requests:
        raise click.UsageError(f"this client needs the name of a model: {_CHOOSE}")
    changes = [change for change in map(change_of, configuration.files) if change.before != change.after]
    for change in changes:
        click.echo("\n".join(change.difference))
    if not changes:
        click.echo("nothing to change: the files have these values already")
    elif not yes and not click.confirm("\nWrite this?"):
        raise click.Abort
    for change in changes:
        backup = write(change)
        click.echo(f"wrote {change.path}" + (f"; the old content is in {backup}" if backup else ""))


def shown(
    program: ClientProgram, configuration: Configuration, endpoint: Endpoint, *, written: bool = False
) -> Iterator[str]:
    """The files, unless they are written, and what is left to the user."""
    if not written:
        yield f"# {program.title}, for the proxy at {endpoint.root}"
        for file in configuration.files:
            yield f"\n# {file.path}" + (", or variables of the shell:" if file.format == "env" else ":")
            yield _exports(file.values, endpoint) if file.format == "env" else example(file)
    if configuration.variables:
        yield "\n# In the shell, or its profile:"
        yield _exports(configuration.variables, endpoint)
    if configuration.code:
        yield "\n" + configuration.code
    if configuration.run:
        yield f"\n# Then run: {configuration.run}"


def _exports(values: Mapping[str, str | Key], endpoint: Endpoint) -> str:
    form = "$env:{} = {}" if endpoint.windows else "export {}={}"
    return "\n".join(form.format(name, _word(value, endpoint)) for name, value in values.items())


def _word(value: str | Key, endpoint: Endpoint) -> str:
    if isinstance(value, Key):
        return f"$({value.shell(True)})" if endpoint.windows else f'"$({value.shell(False)})"'
    return powershell_word(value) if endpoint.windows else shlex.quote(value)


def _advice(program: ClientProgram, configuration: Configuration, endpoint: Endpoint) -> Iterator[str]:
    """What the configuration alone does not say."""
    yield from (f"# {line}" for line in (*reported(program, configuration, endpoint), *configuration.notes))
    if endpoint.assumed:
        yield f"# No proxy is running here: {endpoint.root} is from the settings. Give --url if it listens elsewhere."
    if endpoint.key.variable and endpoint.key.value is None:
        yield f"# {endpoint.key.variable} is not set in this shell: it has to contain the client key."
    if endpoint.root.startswith("https://"):
        yield (
            "# For a certificate of your own authority: NODE_EXTRA_CA_CERTS=FILE for programs on Node and Bun, "
            "SSL_CERT_FILE=FILE for others."
        )


def _missing(
    program: ClientProgram,
    configuration: Configuration,
    endpoint: Endpoint,
    loaded: LoadedSettings,
    client: str | None,
) -> Iterator[str]:
    """What this installation lacks for the client to work, with the lines that add it."""
    package = _PACKAGES.get(program.dialect)
    if package and program.dialect not in catalog_of(loaded, ("proxy_dialects",)).dialects:
        yield f"\nThe proxy does not speak the dialect of {program.title} yet: pip install {package}"
    if PLACEHOLDER in configuration.requests:
        yield f"\n{PLACEHOLDER} stands for the name of a model: {_CHOOSE}"
        return
    try:
        unknown = unknown_models(loaded, configuration.requests)
    except SetupError as error:
        yield f"\nThe proxy would not start, so which models it serves is not known: {printable(str(error))}"
        return
    names = _to_add(unknown, "" if endpoint.chosen else program.pattern, loaded)
    if unknown:
        yield f"\n{program.title} requests models that the proxy does not have: {printable(', '.join(unknown))}."
    if names:
        yield "Add to the settings file:\n\n[models]"
        yield from (f"{json.dumps(name, ensure_ascii=False)} = {_target(loaded)}" for name in names)
    yield from _refused(configuration.requests, loaded, client)


def _to_add(unknown: Sequence[str], pattern: str, loaded: LoadedSettings) -> list[str]:
    """The names for ``[models]`` that cover the unknown ones, and are not in it yet."""
    given = loaded.settings.models
    names = (pattern if pattern not in given and fnmatchcase(name, pattern) else name for name in unknown)
    return [name for name in dict.fromkeys(names) if name not in given]


def _refused(requests: Sequence[str], loaded: LoadedSettings, client: str | None) -> Iterator[str]:
    """Which of the models the client may not use, if it is one of the configured ones."""
    clients = loaded.settings.clients
    name = client or (next(iter(clients)) if len(clients) == 1 else "")
    allowed = clients[name].models if name in clients else ()
    refused = [model for model in requests if allowed and not _any(allowed, model)]
    if refused:
        yield f"\nThe client {name} may not request {', '.join(refused)}: clients.{name}.models has other names."


def _any(globs: Sequence[str], name: str) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)


def _target(loaded: LoadedSettings) -> str:
    """The deployments of the first exact name in the settings, or a placeholder: routes do not lead to other routes."""
    route = next((route for name, route in loaded.settings.models.items() if "*" not in name), None)
    return json.dumps(list(route.deployments) if route else PLACEHOLDER, ensure_ascii=False)
