"""Maps model ids to ordered deployments, from settings alone. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase

from proxy_core.errors import ModelNotFound, SettingsError, Unavailable
from proxy_core.interfaces import Deployment, Provider
from proxy_core.settings.schema import ProviderSettings


class Router:
    """Finds a model's deployments. ``provider/model`` names one; ``[models]`` names lists of them."""

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
        self._routes = {name: self._route(name, targets) for name, targets in routes.items()}

    @property
    def public_models(self) -> Sequence[str]:
        """Names from ``[models]``."""
        return tuple(self._routes)

    def deployments(self, public_model: str) -> Sequence[Deployment]:
        """The deployments of a name from ``[models]``, best first; empty if none of their providers is active."""
        return self._routes.get(public_model, ())

    def resolve(self, model: str) -> tuple[Deployment, ...]:
        """The deployments of ``model``, best first. Raises ``ModelNotFound``, ``Unavailable``."""
        route = self._routes.get(model)
        if route is None:
            return (self._direct(model),)
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
        complete = self._complete.get(provider.name)
        if (complete is not None and upstream_model not in complete) or not self.allowed(provider.name, upstream_model):
            raise ModelNotFound(f"The model {model!r} is not available here.")
        return self._deployment(provider, upstream_model)

    def _deployment(self, provider: Provider, model: str) -> Deployment:
        settings = self._settings.get(provider.name)
        entry = settings.models.get(model) if settings else None
        if entry is None:
            return Deployment(provider=provider, model=model)
        return Deployment(provider=provider, model=entry.id or model, options=entry.options)

    def _route(self, name: str, targets: Sequence[str]) -> tuple[Deployment, ...]:
        deployments, problems = [], []
        for target in targets:
            found, (provider, _, model) = self.addressed(target), target.partition("/")
            if not provider or not model:
                problems.append(f"models.{name}: {target!r} is not 'provider/model'")
            elif found is None:
                self.warnings.append(f"models.{name}: no provider {provider!r} is active")
            else:
                deployments.append(self._deployment(*found))
        if problems:
            raise SettingsError(problems)
        return tuple(deployments)
