"""Which rows of usage an import adds: what the old files count beyond what was imported before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path, PurePath
from typing import Any

from proxy_core import UsageRow
from proxy_core.cli.api import StoredCredential
from proxy_plugin_mirrowel.importing.old_folder import OldFolder
from proxy_plugin_mirrowel.importing.rows import Row
from proxy_plugin_mirrowel.importing.target import CLIENT, Target, summed_rows
from proxy_plugin_mirrowel.importing.usage import Total, totals


def usage_rows(
    old: OldFolder, target: Target, planned: Sequence[StoredCredential], today: date
) -> tuple[list[UsageRow], list[Row]]:
    """The older file counts only for providers that have none of their own: the old proxy took it over from there."""
    found: dict[tuple[str, str, str], UsageRow] = {}
    rows, owned = [], set[str]()
    before = target.usage() if old.usage else {}
    names, days = _Names(old, target, planned), target.loaded.settings.state.usage_retention_days
    for file, data in old.usage.items():
        what = old.name(file)
        try:
            counted = list(totals(file, data, today))
        except ValueError as error:
            rows.append(Row(what=what, verdict="differs", note=str(error)))
            continue
        kept = [total for total in counted if total.day > today - timedelta(days=days)]
        of_file = [_row(total, names) for total in kept if total.provider not in owned]
        owned |= {total.provider for total in counted} if file.parent != old.path else set()
        new = 0
        for row in of_file:
            key = row.provider, row.credential, row.model
            found[key] = summed_rows(found[key], row) if key in found else row
            new += key not in before or summed_rows(found[key], before[key], -1).requests > 0
        if of_file or not counted or len(kept) == len(counted):
            rows.append(_told(what, len(of_file), len(counted), new))
        if old_ones := len(counted) - len(kept):
            note = f"{old_ones} totals are older than state.usage_retention_days ({days})"
            rows.append(Row(what=what, verdict="no meaning here", note=note))
    left = [summed_rows(row, before[key], -1) if key in before else row for key, row in found.items()]
    return [row for row in left if row.requests or row.prompt or row.completion], rows


def _told(what: str, taken: int, counted: int, new: int) -> Row:
    if not counted:
        return Row(what=what, verdict="no meaning here", note="it counts nothing")
    if not taken:
        return Row(what=what, verdict="no meaning here", note="files in usage/ count the same since")
    if not new:
        return Row(what=what, verdict="there already", note="its totals were imported before")
    note = f"{taken} totals, each on the day of its last use, as client {CLIENT!r}; cooldowns and windows begin anew"
    return Row(what=what, verdict="imported", note=note)


def _row(total: Total, names: _Names) -> UsageRow:
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

    def __init__(self, old: OldFolder, target: Target, planned: Sequence[StoredCredential]) -> None:
        self._fingerprint = target.fingerprint
        credentials = [*planned, *(one for p in target.vault.providers() for one in target.vault.all(p))]
        self._by_file: Mapping[tuple[str, str], Any] = {
            (one.provider, PurePath(one.origin.removeprefix("copied from ")).name): one
            for one in credentials
            if one.origin.startswith("copied from ")
        }
        self._by_account = {(one.provider, one.identity): one for one in credentials if one.identity}

    def id_of(self, total: Total) -> str:
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
