"""Every hook a plugin can implement.

A plugin is an installed package with an entry point in the group ``proxy_core.plugins``; the
entry point names a module that contains a ``PLUGIN`` (:class:`~proxy_core.interfaces.PluginInfo`)
and any of the functions below, marked with :data:`hookimpl`.

These rules apply to all hooks:

* **When**: once, at startup, in each process, before a connection is accepted. They are plain
  functions; the objects they return do the work later.
* **What**: ``ctx`` is this plugin's own :class:`~proxy_core.interfaces.PluginContext`.
* **No side effects**: no network, no subprocess, no thread. Files below ``ctx.data_dir`` may be read.
* **Failure**: any exception from a hook disables the whole plugin, and ``proxy-core plugins`` shows the
  reason; if ``[plugins] required`` lists the plugin, or if it is a guard (it has sanitizers or redactors) and
  ``[plugins] optional`` does not list it, startup stops. A missing secret is a
  ``SettingsError`` here, not a failure on the first request.
* **Order** of plugins has no effect, nor do ``tryfirst``, ``trylast`` and wrappers.
  Where order matters, the returned object has a ``rank``.
* **Names** belong to one plugin; if two plugins claim the same name, startup stops.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

from proxy_core.interfaces import (
    AdminPage,
    Check,
    CredentialRefresher,
    Dialect,
    HttpServer,
    LogSink,
    ModelCatalog,
    Observer,
    Operation,
    PluginContext,
    Provider,
    Redactor,
    Sanitizer,
    Selector,
    StateStore,
    TokenCounter,
)

if TYPE_CHECKING:
    import click

PROJECT = "proxy_core"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def proxy_providers(ctx: PluginContext) -> Iterable[Provider]:
    """Add upstream providers.

    Returns: any number of providers. ``encode``, ``decoder`` and ``classify_failure`` are called per
        attempt, are pure and must not block.
    Raises: ``SettingsError`` for a wrong or missing setting.
    Order: none; ``[models]`` says which provider serves what. Since: API 1.
    """
    raise NotImplementedError


@hookspec
def proxy_credential_refreshers(ctx: PluginContext) -> Iterable[CredentialRefresher]:
    """Add refreshers, each for one kind of credential (``example_oauth``).

    Returns: one refresher per credential kind. ``refresh`` is awaited in the background and
        before an attempt with an expired credential; one call at a time per credential.
    Raises: if ``refresh`` fails, its credential enters cooldown. Order: none. Since: API 1.
    """
    raise NotImplementedError


@hookspec
def proxy_sanitizers(ctx: PluginContext) -> Iterable[Sanitizer]:
    """Add filters for outgoing data: requests to upstreams, and events of responses to clients.

    Returns: sanitizers; ``request`` is called once per request after the client's body has been
        validated, ``events`` once per response. Both are synchronous.
    Raises: a ``ProxyError`` rejects the request with that error; any other exception rejects it with
        500, or ends the response without releasing held text.
    Order: ``rank``, then name; event filters in reverse. ``[sanitizers] order`` overrides it. Since: API 1.
    """
    raise NotImplementedError


@hookspec
def proxy_redactors(ctx: PluginContext) -> Iterable[Redactor]:
    """Add redactors, which clean records before they are stored.

    Returns: redactors; called once per record, outside of requests.
    Raises: if a redactor raises, only the record's ids, status and times are kept.
    Order: ``rank``, then name. Since: API 1.
    """
    raise NotImplementedError


@hookspec
def proxy_log_sinks(ctx: PluginContext) -> Iterable[LogSink]:
    """Add destinations for request records.

    Returns: sinks; ``write`` is awaited with a batch, from a bounded queue.
    Raises: logged once per cause and counted; requests are not affected. Order: none. Since: API 1.
    """
    raise NotImplementedError


@hookspec
def proxy_dialects(ctx: PluginContext) -> Iterable[Dialect]:
    """Add wire formats for clients.

    Returns: dialects; their paths become routes. Every function in them is pure.
    Raises: ``BadRequest`` from ``check`` and ``decode``, naming the field.
    Order: none; if two dialects have the same name or path, startup stops. Since: API 1.
    """
    raise NotImplementedError


@hookspec
def proxy_operations(ctx: PluginContext) -> Iterable[Operation]:
    """Add paths for clients that belong to no dialect and need no provider: statistics, estimates.

    Returns: operations; ``answer`` is awaited per request, after the client's key has been checked.
    Raises: a ``ProxyError`` is returned in the format of the client's dialect; any other exception becomes a 500.
    Order: none; if two plugins, or a plugin and a dialect, have the same path, startup stops. Since: API 1.
    """
    raise NotImplementedError


@hookspec
def proxy_selectors(ctx: PluginContext) -> Iterable[Selector]:
    """Add ways to choose among usable credentials.

    Returns: selectors; ``select`` is called per attempt and must be fast and pure.
    Raises: if a selector raises, the request fails. Order: none; ``routing.selector`` names
        the one in use. Since: API 1.
    """
    raise NotImplementedError


@hookspec
def proxy_observers(ctx: PluginContext) -> Iterable[Observer]:
    """Add observers, which receive records of finished requests.

    Returns: observers; ``observe`` is awaited later, from a bounded queue.
    Raises: logged once per cause and counted. Order: none. Since: API 1.
    """
    raise NotImplementedError


@hookspec
def proxy_state_stores(ctx: PluginContext) -> Iterable[StateStore]:
    """Add stores for state that has to survive a restart.

    Returns: stores, each for one URL scheme; ``open`` is awaited at startup.
    Raises: if the store is unreachable, the proxy keeps its state in memory and ``/readyz`` reports it.
    Order: none; the scheme of ``state.url`` selects one. Since: API 1.
    """
    raise NotImplementedError


@hookspec
def proxy_token_counters(ctx: PluginContext) -> Iterable[TokenCounter]:
    """Add counters of tokens, for dialects and plugins whose clients ask for a count.

    Returns: counters; ``count`` is called in a thread and may take its time, without the network.
    Raises: logged once per cause; the next counter is called.
    Order: ``rank``, then name; the first that knows the model counts. Since: API 1.
    """
    raise NotImplementedError


@hookspec
def proxy_model_catalogs(ctx: PluginContext) -> Iterable[ModelCatalog]:
    """Add tables of models: limits, capabilities, prices.

    Returns: catalogs; ``load`` is called once, in a thread, when first needed and never at startup.
    Raises: if ``load`` raises, the error is logged once, and the table counts as empty.
    Order: ``rank``, then name; for each field the first source that has it wins, after the settings
        and the provider's own list. Since: API 1.
    """
    raise NotImplementedError


@hookspec
def proxy_admin_pages(ctx: PluginContext) -> Iterable[AdminPage]:
    """Add pages for the operator: metrics, a dashboard.

    Returns: pages, each with a path below ``/admin/`` (or ``/metrics``). ``respond`` is awaited per
        request, after the core has checked the admin key, and answers with a value or a live feed.
        It reads the running proxy through ``status()`` and ``statuses()`` of its request.
    Raises: a ``ProxyError`` is returned as it is; any other exception becomes a 500 and an error
        in the log that names the plugin. If the paths of two plugins overlap, startup stops.
    Order: none; an exact path takes precedence over one that ends with ``/*``. Since: API 1.
    """
    raise NotImplementedError


@hookspec
def proxy_http_servers(ctx: PluginContext) -> Iterable[HttpServer]:
    """Add HTTP servers that can run the proxy.

    Returns: servers; ``[server] http_server`` names the one that is used.
    Raises: what ``serve`` raises ends the process. Order: none. Since: API 1.
    """
    raise NotImplementedError


@hookspec
def proxy_cli_commands(ctx: PluginContext) -> Iterable[click.Command]:
    """Add commands to ``proxy-core``.

    When: unlike the other hooks, also when the command line is built, without a server.
    Returns: click commands. They cannot replace built-in commands.
    Raises: if two plugins define the same command, the program stops. Order: by name. Since: API 1.
    """
    raise NotImplementedError


@hookspec
def proxy_checks(ctx: PluginContext) -> Iterable[Check]:
    """Add checks for ``proxy-core doctor``.

    Returns: checks; ``run`` may take a second and may access files, but not the network.
    Raises: an exception from ``run`` is reported as that check's problem. Order: by name. Since: API 1.
    """
    raise NotImplementedError
