"""Maps model ids to ordered deployments, from settings alone. Pure."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase

from msgspec import Struct

from proxy_core.errors import ModelNotFound, SettingsError, Unavailable
from proxy_core.interfaces import Deployment, Provider
from proxy_core.settings.schema import ProviderSettings


class _Pattern(Struct, frozen=True):
    """A name with ``*`` from ``[models]``, and its targets: a provider and its model, which may contain one ``*``."""

    name: str
    matches: re.Pattern[str]
    targets: Sequence[tuple[Provider, str]]


class Router:
    """Finds a model's deployments. ``provider/model`` names one; ``[models]`` names lists of them.

    An exact name in ``[models]`` comes first, then ``provider/model`` if there is such a provider, then the pattern in
    ``[models]`` with the most letters, and so ``*``, which serves all other names, last.
    """

    def __init__(
        self,
        providers: Mapping[str, Provider],
        settings: Mapping[str, ProviderSettings],
        routes: Mapping[str, Sequence[str]],
        is_secret: Callable[[str], bool] = lambda name: False,
    ) -> None:
        """Raises ``SettingsError`` for a route that is not ``provider/model``. No name that ``is_secret`` is repeated.

        A route to a provider that is not active (its plugin was skipped) is left out and reported in ``warnings``.
        """
        self.warnings: list[str] = []
        self._providers = providers
        self._settings = settings
        self._is_secret = is_secret
        prefixes = {provider.prefix: provider for provider in providers.values() if provider.prefix is not None}
        self._prefixes = {**prefixes, **providers}
        self._complete = {
            name: frozenset(spec.id for spec in provider.models)
            for name, provider in providers.items()
            if provider.models_complete
        }
        found = {name: self._targets(name, targets) for name, targets in routes.items()}
        self._routes = {
            name: tuple(self._deployment(*target) for target in targets)
            for name, targets in found.items()
            if "*" not in name
        }
        self.warnings += [
            f"models.{name}: never used, as {name.partition('/')[0]!r} is a provider"
            for name in routes
            if "*" in name and self.addressed(name) is not None
        ]
        patterns = (_Pattern(name, _compiled(name), targets) for name, targets in found.items() if "*" in name)
        self._patterns = sorted(patterns, key=lambda pattern: pattern.name.count("*") - len(pattern.name))

    @property
    def public_models(self) -> Sequence[str]:
        """Exact names from ``[models]``."""
        return tuple(self._routes)

    def entry(self, model: str) -> str | None:
        """The name or pattern in ``[models]`` that serves ``model``; ``None`` if none does."""
        if model in self._routes:
            return model
        pattern = self._pattern(model)
        return pattern.name if pattern is not None else None

    def deployments(self, model: str) -> Sequence[Deployment]:
        """The deployments of a name that ``[models]`` serves, best first; empty if no provider of it is active."""
        if (route := self._routes.get(model)) is not None:
            return route
        pattern = self._pattern(model)
        return self._matched(model, pattern) if pattern is not None else ()

    def resolve(self, model: str) -> Sequence[Deployment]:
        """The deployments of ``model``, best first. Raises ``ModelNotFound``, ``Unavailable``."""
        route: Sequence[Deployment] | None = self._routes.get(model)
        if route is None:
            pattern = self._pattern(model)
            if pattern is None or self._is_secret(model):
                return (self._direct(model),)
            route = self._matched(model, pattern)
            if not route and pattern.targets:
                raise ModelNotFound(f"The model {model!r} is not available here.")
        if not route:
            error = Unavailable(f"No provider for the model {model!r} is active.")
            error.waiting_helps = False
            raise error
        return route

    def addressed(self, model: str) -> tuple[Provider, str] | None:
        """The provider that the prefix of ``model`` names, and the rest; ``None`` if there is no such provider."""
        name, _, rest = model.partition("/")
        second, slash, last = rest.partition("/")
        if slash and (provider := self._prefixes.get(f"{name}/{second}")) is not None:
            return (provider, last) if last else None
        provider = self._prefixes.get(name)
        return (provider, rest) if provider is not None and rest else None

    def allowed(self, provider: str, model: str) -> bool:
        """Whether settings allow ``model``. Globs match with and without the prefix; ``include_models`` wins."""
        settings = self._settings.get(provider)
        if settings is None:
            return True
        names = (model, f"{provider}/{model}")
        if any(fnmatchcase(name, glob) for glob in settings.include_models for name in names):
            return True
        return not any(fnmatchcase(name, glob) for glob in settings.exclude_models for name in names)

    def _direct(self, model: str) -> Deployment:
        found = self.addressed(model)
        if self._is_secret(model):  # it would be kept in logs and usage
            raise ModelNotFound("The name of the model contains a secret of this proxy.")
        if found is None:
            raise ModelNotFound(f"The model {model!r} does not exist. Models are named 'provider/model'.")
        provider, upstream_model = found
        if not self._has(provider.name, upstream_model):
            raise ModelNotFound(f"The model {model!r} is not available here.")
        return self._deployment(provider, upstream_model)

    def _has(self, provider: str, model: str) -> bool:
        """Whether a client may choose this model of the provider."""
        complete = self._complete.get(provider)
        return (complete is None or model in complete) and self.allowed(provider, model)

    def _pattern(self, model: str) -> _Pattern | None:
        """The pattern that serves ``model``, unless it is ``provider/model``."""
        if not self._patterns or self.addressed(model) is not None:
            return None
        return next((pattern for pattern in self._patterns if pattern.matches.fullmatch(model)), None)

    def _matched(self, model: str, pattern: _Pattern) -> Sequence[Deployment]:
        before, _, after = pattern.name.partition("*")
        star = model[len(before) : len(model) - len(after)]
        given = ((provider, target, target.replace("*", star)) for provider, target in pattern.targets)
        return [
            self._deployment(provider, upstream_model)
            for provider, target, upstream_model in given
            if target == upstream_model or self._has(provider.name, upstream_model)
        ]

    def _deployment(self, provider: Provider, model: str) -> Deployment:
        settings = self._settings.get(provider.name)
        entry = settings.models.get(model) if settings else None
        if entry is None:
            return Deployment(provider=provider, model=model)
        return Deployment(provider=provider, model=entry.id or model, options=entry.options)

    def _targets(self, name: str, targets: Sequence[str]) -> list[tuple[Provider, str]]:
        found, problems = [], []
        for target in targets:
            addressed, (provider, _, model) = self.addressed(target), target.partition("/")
            if not provider or not model:
                problems.append(f"models.{name}: {target!r} is not 'provider/model'")
            elif "*" in target and (name.count("*") != 1 or target.count("*") != 1):
                problems.append(f"models.{name}: '*' in {target!r} needs exactly one '*' there and one in the name")
            elif addressed is None:
                self.warnings.append(f"models.{name}: no provider {provider!r} is active")
            else:
                found.append(addressed)
        if problems:
            raise SettingsError(problems)
        return found


def _compiled(pattern: str) -> re.Pattern[str]:
    """``*`` stands for any text; everything else, also ``?`` and ``[``, for itself."""
    return re.compile(fnmatch.translate(re.sub(r"[?[]", r"[\g<0>]", pattern)))
