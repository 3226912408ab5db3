"""Any OpenAI-compatible upstream, configured by settings alone.

A provider is created by ``[providers.<name>]`` with a ``preset`` or a ``base_url``, by
``<NAME>_API_BASE``, or if NAME is a preset by ``<NAME>_API_KEY`` or a stored key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from proxy_core import (
    JsonObject,
    PluginContext,
    PluginInfo,
    Provider,
    ProviderSettings,
    ProxyRequest,
    Sanitizer,
    hookimpl,
)
from proxy_plugin_openai_compat.formats import problems as problems_of
from proxy_plugin_openai_compat.provider import build_provider
from proxy_plugin_openai_compat.quirks import (
    GATEWAY_FIELDS,
    OTHER_FORMATS,
    PACKAGES,
    PLAIN,
    PRESETS,
    PRICE_FIELDS,
    PRICING_FIELDS,
    STEERING_FIELDS,
)

PLUGIN = PluginInfo(name="openai_compat", api=1, presets=tuple(PRESETS), packages=PACKAGES)


@hookimpl
def proxy_providers(ctx: PluginContext) -> Iterable[Provider]:
    """A provider whose settings are wrong is left out; the others, and the removal of fields below, stay."""
    providers = []
    named = [name for name in ctx.provider_names() if name not in ctx.reserved_providers]
    stored = {*ctx.stored_providers()} - ctx.reserved_providers
    free = [name for name in PRESETS if name not in named and name not in ctx.reserved_providers]
    keyed = [name for name in free if name in stored or ctx.provider(name).api_keys]
    for name in (*named, *keyed):
        settings = ctx.provider(name)
        if settings.preset in ctx.reserved_providers:
            continue  # the plugin with the provider of that name serves this one, too
        vendor = PRESETS.get(settings.preset or name)
        problems = [*_problems(name, settings)]
        if not problems and vendor is None and settings.base_url is None:
            continue  # it belongs to another plugin
        problems += problems_of(name, settings, ctx.active_plugins)
        for problem in problems:
            ctx.leave_out(problem)
        if not problems:
            providers.append(build_provider(name, vendor or PLAIN, settings, ctx.active_plugins))
    return providers


def _problems(name: str, settings: ProviderSettings) -> Iterator[str]:
    """What is wrong with the preset."""
    package = OTHER_FORMATS.get(settings.preset or name)
    if package is not None:
        yield f"providers.{name}: its format needs {package}: pip install {package}"
    elif settings.preset and settings.preset not in PRESETS:
        yield f"providers.{name}.preset: {settings.preset!r} is not one of {', '.join(PRESETS)}"


@hookimpl
def proxy_sanitizers(ctx: PluginContext) -> Iterable[Sanitizer]:
    """Remove fields that could redirect an upstream that is itself a gateway, as early as the core's own guard does."""
    return [
        Sanitizer(name="gateway_fields", rank=-999, request=GATEWAY_FIELDS),
        Sanitizer(name="steering_fields", rank=-998, request=without_steering),
    ]


def without_steering(request: ProxyRequest) -> ProxyRequest:
    """A client with a limit names its model in ``model`` and nowhere else: another one may cost more, too."""
    limits = request.limits
    if not limits.models and not limits.cost:
        return request
    own = {
        name: value for name, value in request.body.items() if name == "model" or (limits.cost and fair(name, value))
    }
    rest = {name: value for name, value in request.body.items() if name not in own}
    kept = without_models_of_tools(STEERING_FIELDS.without(rest))
    if limits.cost:
        kept = PRICING_FIELDS.without(kept)
    return request if kept is rest else request.with_body({**own, **kept})


def fair(name: str, value: object) -> bool:
    """Whether the field leaves the price as it is, or lowers it."""
    return isinstance(value, str) and value in PRICE_FIELDS.get(name, ())


def without_models_of_tools(body: JsonObject) -> JsonObject:
    """Some tools that a vendor runs name a model of their own (``image_generation``); the same body if none does."""
    tools = body.get("tools")
    if not isinstance(tools, list) or not any(isinstance(tool, dict) and "model" in tool for tool in tools):
        return body
    plain = [{k: v for k, v in tool.items() if k != "model"} if isinstance(tool, dict) else tool for tool in tools]
    return {**body, "tools": plain}
