"""Which of the proposed settings a start would refuse, and why: they are tried together, with the installed plugins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from msgspec.structs import replace

from proxy_core import SettingsError
from proxy_core.cli.api import LoadedSettings, StoredCredential, check_start, load
from proxy_plugin_mirrowel.importing.settings import KeyPath, Setting
from proxy_plugin_mirrowel.importing.target import Target, without_file
from proxy_plugin_mirrowel.importing.toml import tree_of

_KEY = "stands-for-a-key-of-the-vault"


def refusals(
    settings: Sequence[Setting], credentials: Sequence[StoredCredential], target: Target
) -> dict[KeyPath, str]:
    """The reason for each that has to be left out. What is wrong without any of them is nothing that they cause."""
    refused: dict[KeyPath, str] = {}
    providers = {*target.vault.providers(), *(one.provider for one in credentials)} - target.catalog.providers.keys()
    known = set(_problems([], providers, target))
    left = list(settings)
    while left and (new := [line for line in _problems(left, providers, target) if line not in known]):
        found = {setting.path: why for line in new for setting, why in _culprits(line, left)}
        if not found:
            found = _culprit_by_trial(left, providers, target, known)
        refused |= found
        left = [setting for setting in left if setting.path not in found]
    return refused


def _culprits(line: str, settings: Sequence[Setting]) -> list[tuple[Setting, str]]:
    """The settings whose key the problem begins with; of several that enclose it, the one that is nearest."""
    place, _, why = line.partition(": ")
    named = [s for s in settings if place == s.key or place.startswith((f"{s.key}.", f"{s.key}["))]
    return [(max(named, key=lambda setting: len(setting.path)), why)] if named else []


def _culprit_by_trial(
    settings: Sequence[Setting], providers: set[str], target: Target, known: set[str]
) -> dict[KeyPath, str]:
    """The first setting with which the ones before it are no longer accepted."""
    good, bad = 0, len(settings)  # the first ``good`` are accepted, the first ``bad`` are not
    why: list[str] = []
    while bad - good > 1:
        middle = (good + bad) // 2
        new = [line for line in _problems(settings[:middle], providers, target) if line not in known]
        good, bad, why = (good, middle, new) if new else (middle, bad, why)
    why = why or [line for line in _problems(settings[:bad], providers, target) if line not in known]
    return {settings[bad - 1].path: "; ".join(why)}


def _problems(settings: Sequence[Setting], providers: set[str], target: Target) -> Sequence[str]:
    """What a start with these settings would refuse. ``providers``: those that only a key in the vault brings about."""
    table = tree_of(settings)
    for name in providers:
        table.setdefault("providers", {}).setdefault(name, {}).setdefault("api_keys", [_KEY])
    with TemporaryDirectory() as folder:
        try:
            return check_start(replace(_loaded(target, table), data_dir=Path(folder)), here=True).problems
        except SettingsError as error:
            return error.problems


def _loaded(target: Target, table: Mapping[str, Any]) -> LoadedSettings:
    if target.file.is_file():
        return load(target.file, cwd=target.file.parent, overrides=table)
    return without_file(table)
