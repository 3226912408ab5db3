"""Which rows of usage an import adds: what the old files count beyond what was imported before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from datetime import date, timedelta
from pathlib import Path, PurePath
from typing import Any

from msgspec import Struct

from proxy_core import UsageRow
from proxy_core.cli.api import StoredCredential
from proxy_plugin_mirrowel.importing.counters import Total, total_of
from proxy_plugin_mirrowel.importing.old_folder import OldFolder
from proxy_plugin_mirrowel.importing.rows import Row
from proxy_plugin_mirrowel.importing.target import CLIENT, Target, summed_rows
from proxy_plugin_mirrowel.importing.usage import OldTotal, totals


class UsagePlan(Struct, frozen=True, kw_only=True):
    """``new`` is to be added; ``now``: the counters as they are; ``rows`` of the table."""

    new: Sequence[UsageRow] = ()
    now: Sequence[UsageRow] = ()
    rows: Sequence[Row] = ()


def usage_plan(old: OldFolder, target: Target, named: Sequence[StoredCredential], today: date) -> UsagePlan:
    """``named``: credentials beside those of the vault.

    The older file counts only for providers that have none of their own: the old proxy took it over from there.
    """
    if not old.usage:
        return UsagePlan()
    found: dict[Total, UsageRow] = {}
    files: list[_File] = []
    rows, owned = [], set[str]()
    names, days = _Names(old, target, named), target.loaded.settings.state.usage_retention_days
    for path, data in old.usage.items():
        try:
            counted = list(totals(path, data, today))
        except ValueError as error:
            rows.append(Row(what=old.name(path), verdict="differs", note=str(error)))
            continue
        kept = [total for total in counted if total.day > today - timedelta(days=days)]
        of_file = [_row(total, names) for total in kept if total.provider not in owned]
        owned |= {total.provider for total in counted} if path.parent != old.path else set()
        for row in of_file:
            key = total_of(row)
            found[key] = summed_rows(found[key], row) if key in found else row
        keys = [total_of(row) for row in of_file]
        files.append(_File(what=old.name(path), counted=len(counted), kept=len(kept), keys=keys))
    counters = target.counters()
    left = {key: _since(row, counters.before(old.path, row)) for key, row in found.items()}
    new = {key: row for key, row in left.items() if row.requests or row.prompt or row.completion}
    rows += [row for file in files for row in _told(file, new.keys(), days)]
    return UsagePlan(new=list(new.values()), now=list(found.values()), rows=rows)


class _File(Struct, frozen=True, kw_only=True):
    """How many totals it has, how many of these are kept, and which of them count."""

    what: str
    counted: int
    kept: int
    keys: Sequence[Total]


def _since(row: UsageRow, before: UsageRow | None) -> UsageRow:
    return row if before is None else summed_rows(row, before, -1)


def _told(file: _File, new: Set[Total], days: int) -> Iterator[Row]:
    if file.keys and new.isdisjoint(file.keys):
        yield Row(what=file.what, verdict="there already", note="its totals were imported before")
    elif file.keys:
        note = f"{len(file.keys)} totals, each on the day of its last use, as client {CLIENT!r}"
        yield Row(what=file.what, verdict="imported", note=f"{note}; cooldowns and windows begin anew")
    elif not file.counted or file.kept == file.counted:
        note = "files in usage/ count the same since" if file.counted else "it counts nothing"
        yield Row(what=file.what, verdict="no meaning here", note=note)
    if old_ones := file.counted - file.kept:
        note = f"{old_ones} totals are older than state.usage_retention_days ({days})"
        yield Row(what=file.what, verdict="no meaning here", note=note)


def _row(total: OldTotal, names: _Names) -> UsageRow:
    return UsageRow(
        day=total.day,
        client=CLIENT,
        provider=total.provider,
        credential=names.id_of(total),
        model=total.model,
        requests=total.requests,
        attempts=total.requests,
        failures=total.failures,
        prompt=total.prompt,
        cached=total.cached,
        cache_write=total.cache_write,
        completion=total.completion,
        reasoning=total.reasoning,
        cost=total.cost,
        priced=total.requests if total.cost else 0,
    )


class _Names:
    """From what the old proxy called a credential to its fingerprint here."""

    def __init__(self, old: OldFolder, target: Target, named: Sequence[StoredCredential]) -> None:
        self._fingerprint = target.fingerprint
        credentials = [*named, *(one for p in target.vault.providers() for one in target.vault.all(p))]
        self._by_file: Mapping[tuple[str, str], Any] = {
            (one.provider, PurePath(one.origin.removeprefix("copied from ")).name): one
            for one in credentials
            if one.origin.startswith("copied from ")
        }
        self._by_account = {(one.provider, one.identity): one for one in credentials if one.identity}

    def id_of(self, total: OldTotal) -> str:
        """A key's fingerprint is the same everywhere; a login has that of its account, and an unknown file none."""
        accessor = total.accessor
        if accessor.endswith(".json"):
            one = self._by_file.get((total.provider, Path(accessor.replace("\\", "/")).name))
        elif accessor.startswith("env://"):
            one = None
        else:
            one = self._by_account.get((total.provider, accessor))
            if one is None:
                return self._fingerprint(accessor)
        return one.credential(self._fingerprint).id if one is not None else ""
