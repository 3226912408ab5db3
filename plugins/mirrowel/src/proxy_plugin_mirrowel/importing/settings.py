"""Settings from the old folder's variables and its launcher: a value for each key of ``proxy-core.toml``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct
from pydantic import BaseModel, SecretStr

from proxy_core import (
    AskedProvider,
    FoundSettings,
    PluginSettings,
    RotationSettings,
    SettingsError,
    Variables,
    environment_name,
    repr_without,
)
from proxy_core.cli.api import Catalog, LoadedSettings, load_nothing_but
from proxy_plugin_mirrowel.names import SOURCE
from proxy_plugin_mirrowel.rotation_names import replaced

KeyPath = tuple[str, ...]
#: What the old proxy did if no setting said otherwise, and this one would not.
OLD_SELECTOR = "sequential"


class Setting(Struct, frozen=True, kw_only=True):
    """A value for a key; ``names`` are the variables that it is from. ``problem``: why it cannot be set."""

    __repr__ = repr_without("value")

    path: KeyPath
    value: Any
    names: tuple[str, ...]
    problem: str = ""

    @property
    def key(self) -> str:
        return ".".join(self.path)


def settings_of(variables: Variables, providers: list[str], catalog: Catalog) -> tuple[list[FoundSettings], list[str]]:
    """What the variables set, as this plugin reads them; and the lines about those that set nothing."""
    found = [SOURCE.proxy(variables)]
    for name in providers:
        rotation = catalog.rotations.get(name, RotationSettings())
        asked = AskedProvider(
            name=name, providers=providers, file={}, above={}, suggested=rotation, selector=OLD_SELECTOR
        )
        one = SOURCE.provider(variables, asked)
        base = variables.get(f"{environment_name(name)}_API_BASE")
        table, origins = dict(one.table), dict(one.origins)
        if base is not None:
            table["base_url"], origins["providers", name, "base_url"] = base.value.strip(), str(base)
        lost = [
            f"{loser} has no effect: {winner} comes before it" for loser, winner in replaced(variables, asked).items()
        ]
        found.append(FoundSettings(table={"providers": {name: table}}, origins=origins, unused=[*one.unused, *lost]))
    return found, [line for one in found for line in one.unused]


def as_settings(found: list[FoundSettings], variables: Variables, loaded: LoadedSettings) -> Iterator[Setting]:
    """One for each key, with a value of the type that it has in the file, or the reason why it cannot be set."""
    names = {str(variable): name for name, variable in variables.items()}
    for one in found:
        paths: dict[KeyPath, list[str]] = {}
        for path, origin in one.origins.items():
            whole = path[: path.index("caps") + 1] if "caps" in path else path
            paths.setdefault(whole, []).append(names.get(origin, origin))
        for path, of in paths.items():
            yield checked(path, _at(one.table, path), tuple(dict.fromkeys(of)), loaded)


def checked(
    path: KeyPath,
    value: Any,
    names: tuple[str, ...],
    loaded: LoadedSettings,
    plugin: type[PluginSettings] | None = None,
) -> Setting:
    """The setting, validated as a start would; ``plugin``: one of ``[plugins.<name>]``."""
    table: Any = value
    for key in reversed(path):
        table = {key: table}
    try:
        alone = load_nothing_but(table, loaded.data_dir)
        read = _at(alone.settings, path) if plugin is None else getattr(alone.plugin(path[1], plugin), path[2])
    except SettingsError as error:
        why = "; ".join(line.removeprefix(f"{'.'.join(path)}: ") for line in error.problems)
        return Setting(path=path, value=None, names=names, problem=why)
    plain = _plain(read)
    return Setting(path=path, value=value if plain is None else plain, names=names)


def _at(node: Any, path: KeyPath) -> Any:
    for key in path:
        if isinstance(node, Mapping):
            node = node.get(key, node.get(int(key)) if key.isdecimal() else None)  # priorities are numbers
        else:
            node = getattr(node, key, None)
    return node


def _plain(value: Any) -> Any:
    """As TOML writes it; ``None`` if what was given has to be written as it is."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, str | int | float) and not isinstance(value, SecretStr) else None
