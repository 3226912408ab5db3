"""What to try in place of a model that does not exist. Only on the way of an error."""

from __future__ import annotations

import difflib
import heapq
import json
from collections.abc import Collection, Iterable, Mapping, Sequence, Sized
from itertools import islice

from msgspec import Struct

from proxy_core.errors import ModelNotFound, ProxyError
from proxy_core.models.directory import ModelDirectory
from proxy_core.models.routing import Router
from proxy_core.settings.base import environment_name

#: Comparing takes time, and clients choose what is compared.
_MOST_LOOKED_AT = 2_000
_MOST_COMPARED = 50
_LONGEST = 120
_NAMED = 3


class Suggestions(Struct, eq=False):
    """``presets``: providers that plugins could serve if there were a key for them. ``packages``: which package would
    serve others."""

    _directory: ModelDirectory
    _router: Router
    _pools: Mapping[str, Sized]
    _presets: Collection[str]
    _packages: Mapping[str, str]

    async def add(self, error: ProxyError, model: str) -> None:
        """Complete the error about an unknown ``model``; an upstream's own words are only added to."""
        known = [name for name in await self._directory.all() if self._has_credential(name)]
        similar = close_to(model, known)
        if not isinstance(error, ModelNotFound):
            if similar:
                error.say_more(_did_you_mean(similar))
            return
        provider = model.partition("/")[0]
        if provider in self._presets and provider not in self._pools:
            error.say_more(f"There is no key for {provider}: set {environment_name(provider)}_API_KEY.")
        elif provider in self._packages and provider not in self._pools:
            error.say_more(f"{provider} needs one more package: pip install {self._packages[provider]}.")
        error.say_more(_did_you_mean(similar) if similar else self._examples(known))
        if len(known) > _NAMED:
            error.say_more(f"{len(known) - (len(similar) or _NAMED)} more are in the list of models.")
        if known and self._router.addressed(model) is None and self._router.entry(model) is None:
            error.say_more(
                f"To serve it, add to [models] in proxy-core.toml: {self._line(model, (similar or known)[0])}"
            )

    def _examples(self, known: Sequence[str]) -> str:
        if known:
            return f"Known here: {', '.join(known[:_NAMED])}."
        keyed = [name for name, pool in self._pools.items() if len(pool)]
        if not keyed:
            return "No model is known here: no provider has a key."
        why = self._directory.problems
        lists = (
            f"{name}'s list of models {f'cannot be read: {why[name]}' if name in why else 'is empty'}" for name in keyed
        )
        return f"No model is known here: {'; '.join(islice(lists, _NAMED))}."

    def _line(self, model: str, known: str) -> str:
        """The line for settings. Programs ask for several names of one family: one pattern serves them all."""
        family, dash, _ = model.partition("-")
        target = next(map(str, self._router.deployments(known)), known)
        return f"{json.dumps(f'{family}-*' if dash else model, ensure_ascii=False)} = {json.dumps(target)}"

    def _has_credential(self, name: str) -> bool:
        if deployments := self._router.deployments(name):
            return any(len(self._pools[deployment.provider.name]) for deployment in deployments)
        found = self._router.addressed(name)
        return found is not None and len(self._pools[found[0].name]) > 0


def close_to(model: str, known: Sequence[str]) -> list[str]:
    """The names that ``model`` may be a misspelling of, with or without the provider, the most similar first."""
    wanted = model[:_LONGEST].lower()
    names: dict[str, list[str]] = {}
    for name in known[:_MOST_LOOKED_AT]:
        if name != model:
            for form in (name.lower(), name.partition("/")[2].lower()):
                names.setdefault(form, []).append(name)
    forms = [wanted, wanted.partition("/")[2]]
    close = (name for form in forms if form for match in _similar(form, names) for name in names[match])
    return list(dict.fromkeys(close))[:_NAMED]


def _similar(form: str, names: Iterable[str]) -> list[str]:
    """Compares only the names that have the most pairs of letters in common with ``form``."""
    pairs = {form[i : i + 2] for i in range(len(form) - 1)}
    common = ((sum(pair in name for pair in pairs), name) for name in names)
    likely = heapq.nlargest(_MOST_COMPARED, (found for found in common if found[0]))
    return difflib.get_close_matches(form, [name for _, name in likely], n=_NAMED, cutoff=0.7)


def _did_you_mean(names: Sequence[str]) -> str:
    return f"Did you mean {' or '.join(map(repr, names))}?"
