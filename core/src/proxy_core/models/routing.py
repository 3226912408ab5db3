"""Maps model ids to ordered deployments, from settings alone. Pure."""

from __future__ import annotations

import fnmatch
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from fnmatch import fnmatchcase

from msgspec import Struct

from proxy_core.errors import ModelNotFound, SettingsError, Unavailable
from proxy_core.interfaces import Deployment, Provider
from proxy_core.plugins.owners import Taken, whose
from proxy_core.settings.schema import ProviderSettings

log = logging.getLogger("proxy_core.routing")


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
        *,
        is_secret: Callable[[str], bool] = lambda name: False,
        taken: Taken | None = None,
        today: Callable[[], date] = date.today,
    ) -> None:
        """Raises ``SettingsError`` for a route that is not ``provider/model``. No name that ``is_secret`` is repeated.

        A route to a provider that is not active (its plugin was skipped) is left out and reported in ``warnings``;
        ``taken`` are the names of such providers. From its last day on (``today``), neither is one that has ended.
        """
        self.warnings: list[str] = []
        self._taken = taken or {}
        self._today = today
        self._ending = frozenset(name for name, provider in providers.items() if provider.lifecycle.ends)
        self._told: set[str] = set()
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
        """Exact names from ``[models]``, but for those whose providers have all ended."""
        return tuple(name for name, route in self._routes.items() if not route or self._left(route))

    def offers(self, model: str) -> bool:
        """Whether ``[models]`` serves the name."""
        return model in self.public_models or bool(self._left(self.deployments(model)))

    def _left(self, route: Sequence[Deployment]) -> Sequence[Deployment]:
        """Those that have not ended."""
        return [d for d in route if not self.ended(d.provider.name)] if self._ending else route

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
            self._check_taken(model)
            pattern = self._pattern(model)
            if pattern is None or self._is_secret(model):
                direct = (self._direct(model),)
                return self._in_service(model, direct) if self._ending else direct
            route = self._matched(model, pattern)
            if not route and pattern.targets:
                raise ModelNotFound(f"The model {model!r} is not available here.")
        if not route:
            raise self._inactive(f"No provider for the model {model!r} is active.")
        return self._in_service(model, route) if self._ending else route

    def next_in_lists(self) -> list[str]:
        """For each name in ``[models]`` that has lost its first provider, which deployment serves it now."""
        found = []
        for name, route in self._routes.items():
            gone = [deployment for deployment in route if self.ended(deployment.provider.name)]
            left = self._left(route)
            if gone and gone[0] is route[0]:
                found.append(f"models.{name}: instead of {gone[0]}, {left[0] if left else 'nothing'} serves it")
        return found

    def ended(self, provider: str) -> bool:
        """Whether the provider's life-cycle has ended."""
        return provider in self._ending and self._providers[provider].lifecycle.ended_on(self._today())

    def _in_service(self, model: str, route: Sequence[Deployment]) -> Sequence[Deployment]:
        """The route without providers that have ended; the log names the next one, once."""
        left = self._left(route)
        if len(left) == len(route):
            return route
        gone = next(d.provider for d in route if d not in left)
        words = f"The provider {gone.name!r} {gone.lifecycle.end_in_words()}"
        if not left:
            raise ModelNotFound(
                f"The model {model!r} is not available any more. {words}. {gone.lifecycle.note}".strip()
            )
        if (entry := self.entry(model) or model) not in self._told:
            self._told.add(entry)
            log.warning("models.%s: %s; the next in its list is %s", entry, words, left[0])
        return left

    def _inactive(self, message: str, code: str = Unavailable.code) -> Unavailable:
        error = Unavailable(message, code=code)
        error.waiting_helps = False
        return error

    def _check_taken(self, model: str) -> None:
        """Raises ``Unavailable`` if the name belongs to a plugin that is not there; no other plugin serves it."""
        name = model.partition("/")[0]
        if name in self._taken and name not in self._prefixes and name != model:
            owner, why = self._taken[name]
            words = f"The provider {name!r} belongs to the plugin {owner!r}, which is not active here"
            error = self._inactive(
                f"{words}; the proxy's operator sees why with: proxy-core plugins", "plugin_not_active"
            )
            error.cause = f"the plugin {owner!r} is not used: {why}"
            raise error

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
                why = f": {whose(provider, self._taken)}" if provider in self._taken else ""
                self.warnings.append(f"models.{name}: no provider {provider!r} is active{why}")
            else:
                found.append(addressed)
        if problems:
            raise SettingsError(problems)
        return found


def _compiled(pattern: str) -> re.Pattern[str]:
    """``*`` stands for any text; everything else, also ``?`` and ``[``, for itself."""
    return re.compile(fnmatch.translate(re.sub(r"[?[]", r"[\g<0>]", pattern)))
