"""What else a client goes by: files, members and variables of the shell that win over what ``setup`` writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from proxy_core.cli.api import printable, read_small
from proxy_plugin_clients.endpoint import Endpoint, Key
from proxy_plugin_clients.jsonc import leaves
from proxy_plugin_clients.merging import at, read
from proxy_plugin_clients.program import ClientProgram, ConfigFile, Configuration, Format, Member, Rival
from proxy_plugin_clients.writing import names_model


def settled(program: ClientProgram, configuration: Configuration) -> Configuration:
    """``configuration`` with the models that the client's files name already, or else with the default one."""
    named = [value for _, member, value in _kept(configuration) if names_model(member) and isinstance(value, str)]
    files = [file if named else replace(file, values={**file.values, **file.defaults}) for file in configuration.files]
    kept = [_plain(name.removeprefix(program.prefix)) for name in named if name.startswith(program.prefix)]
    default = [configuration.default] if configuration.default and not named else []
    requests = [*configuration.requests, *default, *(name for name in kept if name not in program.aliases)]
    return replace(
        configuration,
        files=[replace(file, keeps=[member for _, member, _ in _kept_in(file)]) for file in files],
        requests=list(dict.fromkeys(requests)),
    )


def _plain(name: str) -> str:
    """Claude Code's ``opus[1m]`` is the same model with a longer context."""
    return name.partition("[")[0]


def reported(program: ClientProgram, configuration: Configuration, endpoint: Endpoint) -> Iterator[str]:
    """One sentence for each thing found. No values but those of models, because any other may be a secret."""
    for path, member, value in _kept(configuration):
        model = value if names_model(member) and isinstance(value, str) else None
        known = "" if model is None else f" = {printable(model)}"
        yield f"{path} keeps {'.'.join(member)}{known}, and {program.title} goes by it."
        if model is not None and not model.startswith(program.prefix):
            yield f"{printable(model)} is not a model of the proxy: --model NAME sets one."
    yield from _stopped(program, configuration)
    values = {member: value for file in configuration.files for member, value in leaves(file.values)}
    values.update({(name,): value for name, value in configuration.variables.items()})
    for name in configuration.preferred:
        if endpoint.variables.get(name) and endpoint.variables[name] != _text(values.get((name,))):
            yield f"{name} is set in this shell and wins over the files: unset {name}."
    own = {file.path.resolve() for file in configuration.files}
    for rival in configuration.rivals:
        if rival.path.is_file() and rival.path.resolve() not in own:
            yield from _of(rival, values)


def _stopped(program: ClientProgram, configuration: Configuration) -> Iterator[str]:
    places: set[tuple[Path, Format]] = {(file.path, file.format) for file in configuration.files}
    places |= {(rival.path, rival.format) for rival in configuration.rivals}
    for path, form in sorted(places):
        found = _read(path, form) or {} if configuration.needed else {}
        for member, needed in configuration.needed.items():
            if at(found, member) not in (None, needed):
                yield f"With {'.'.join(member)} in {path}, {program.title} does not start: remove it, or set {needed}."


def _text(value: object) -> object:
    return value.value.get_secret_value() if isinstance(value, Key) and value.value else value


def _kept(configuration: Configuration) -> Iterator[tuple[Path, Member, Any]]:
    for file in configuration.files:
        yield from _kept_in(file)


def _kept_in(file: ConfigFile) -> Iterator[tuple[Path, Member, Any]]:
    found = _read(file.path, file.format) or {} if file.keeps else {}
    yield from ((file.path, member, value) for member in file.keeps if (value := at(found, member)) not in (None, ""))


def _of(rival: Rival, values: Mapping[Member, Any]) -> Iterator[str]:
    found = _read(rival.path, rival.format)
    if rival.instead:
        yield f"{rival.path} is read instead of the one that setup writes."
    elif found is None:
        yield f"{rival.path} cannot be read; what it sets wins."
    else:
        for member in rival.members:
            value = at(found, member)
            if value is not None and value != _text(values.get(member)):
                yield f"{rival.path} sets {'.'.join(member)}, which wins: remove it there."


def _read(path: Path, form: Format) -> Mapping[str, Any] | None:
    """``None`` if it cannot be read; a file that does not exist says nothing."""
    try:
        return read(form, read_small(path).decode("utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError):
        return None
