"""Every hook a plugin can implement.

A plugin is an installed package with an entry point in the group ``proxy_core.plugins``; the
entry point names a module that has a ``PLUGIN`` (:class:`~proxy_core.interfaces.PluginInfo`)
and any of the functions below, marked with :data:`hookimpl`.

All hooks share these rules:

* **When**: once, at startup, in each process, before a connection is accepted. They are plain
  functions; the objects they return do the work later.
* **What**: ``ctx`` is this plugin's own :class:`~proxy_core.interfaces.PluginContext`.
* **No side effects**: no network, no subprocess, no thread. Files below ``ctx.data_dir`` may be read.
* **Failure**: whatever a hook raises takes the whole plugin out, with a reason in
  ``proxy-core plugins``; if ``[plugins] required`` lists it, startup stops. A missing secret is a
  ``SettingsError`` here, not a failure on the first request.
* **Order** of plugins decides nothing: ``tryfirst``, ``trylast`` and wrappers have no effect.
  Where order matters, the returned object carries a ``rank``.
* **Names** belong to one plugin; two that claim one stop startup.
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
    LogSink,
    ModelCatalog,
    Observer,
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
    """Bring upstream providers.

    Returns: any number of providers. ``encode``, ``decoder`` and ``classify_failure`` are called per
        attempt, are pure and must not block.
    Raises: ``SettingsError`` for a wrong or missing setting.
    Order: none; ``[models]`` says which provider serves what. Since: API 1.
    """
    raise NotImplementedError


@hookspec
def proxy_credential_refreshers(ctx: PluginContext) -> Iterable[CredentialRefresher]:
    """Bring the ways to renew credentials of a kind (``example_oauth``).

    Returns: one refresher per credential kind. ``refresh`` is awaited in the background and
        before an attempt with an expired credential; one call at a time per credential.
    Raises: a failing ``refresh`` rests its credential. Order: none. Since: API 1.
    """
    raise NotImplementedError


@hookspec
def proxy_sanitizers(ctx: PluginContext) -> Iterable[Sanitizer]:
    """Bring filters for what leaves: requests on their way up, reply events on their way down.

    Returns: sanitizers; ``request`` is called once per request after the client's body was
        checked, ``events`` once per reply. Both are synchronous.
    Raises: a ``ProxyError`` refuses the request with that error; anything else refuses it with
        500, or ends the reply without releasing held text.
    Order: ``rank``, then name; event filters in reverse. ``[sanitizers] order`` wins. Since: API 1.
    """
    raise NotImplementedError


@hookspec
def proxy_redactors(ctx: PluginContext) -> Iterable[Redactor]:
    """Bring cleaners for records that are about to be kept.

    Returns: redactors; called off the request's path, once per record.
    Raises: a redactor that raises leaves only the record's ids, status and times.
    Order: ``rank``, then name. Since: API 1.
    """
    raise NotImplementedError


@hookspec
def proxy_log_sinks(ctx: PluginContext) -> Iterable[LogSink]:
    """Bring places where request records are kept.

    Returns: sinks; ``write`` is awaited with a batch, from a bounded queue.
    Raises: logged once per cause and counted; nobody else notices. Order: none. Since: API 1.
    """
    raise NotImplementedError


@hookspec
def proxy_dialects(ctx: PluginContext) -> Iterable[Dialect]:
    """Bring wire formats that clients may speak to the proxy.

    Returns: dialects; their paths become routes. Every function in them is pure.
    Raises: ``BadRequest`` from ``check`` and ``decode``, naming the field.
    Order: none; two dialects with one name or path stop startup. Since: API 1.
    """
    raise NotImplementedError


@hookspec
def proxy_selectors(ctx: PluginContext) -> Iterable[Selector]:
    """Bring ways to choose among usable credentials.

    Returns: selectors; ``select`` is called per attempt and must be fast and pure.
    Raises: a selector that raises fails the request. Order: none; ``routing.selector`` names
        the one in use. Since: API 1.
    """
    raise NotImplementedError


@hookspec
def proxy_observers(ctx: PluginContext) -> Iterable[Observer]:
    """Bring someone to tell about finished requests.

    Returns: observers; ``observe`` is awaited later, from a bounded queue.
    Raises: logged once per cause and counted. Order: none. Since: API 1.
    """
    raise NotImplementedError


@hookspec
def proxy_state_stores(ctx: PluginContext) -> Iterable[StateStore]:
    """Bring stores for what must survive a restart.

    Returns: stores, each for one URL scheme; ``open`` is awaited at startup.
    Raises: an unreachable store degrades to memory, with a warning in ``/readyz``.
    Order: none; the scheme of ``state.url`` picks one. Since: API 1.
    """
    raise NotImplementedError


@hookspec
def proxy_token_counters(ctx: PluginContext) -> Iterable[TokenCounter]:
    """Bring counters for ``POST /v1/token-count``.

    Returns: counters; ``count`` is called in a thread and may take its time, without the network.
    Raises: logged once per cause; the next counter is asked, in the end the core's ``estimate``.
    Order: ``rank``, then name; the first that knows the model counts. Since: API 1.
    """
    raise NotImplementedError


@hookspec
def proxy_model_catalogs(ctx: PluginContext) -> Iterable[ModelCatalog]:
    """Bring tables of models: limits, capabilities, prices.

    Returns: catalogs; ``load`` is called once, in a thread, on first need and never at startup.
    Raises: what ``load`` raises is logged once; the table counts as empty.
    Order: ``rank``, then name; field by field the first that knows is believed, after settings
        and the provider's own list. Since: API 1.
    """
    raise NotImplementedError


@hookspec
def proxy_admin_pages(ctx: PluginContext) -> Iterable[AdminPage]:
    """Add pages for the operator: metrics, a dashboard.

    Returns: pages, each with a path below ``/admin/`` (or ``/metrics``). ``respond`` is awaited per
        request, after the core has checked the admin key, and answers with a value or a live feed.
        It reads the running proxy through ``status()`` and ``statuses()`` of its request.
    Raises: a ``ProxyError`` is answered in its own words; anything else becomes a 500 and an error
        in the log that names the plugin. Two plugins whose paths overlap stop startup.
    Order: none; an exact path wins over one that ends with ``/*``. Since: API 1.
    """
    raise NotImplementedError


@hookspec
def proxy_cli_commands(ctx: PluginContext) -> Iterable[click.Command]:
    """Bring commands for ``proxy-core``.

    When: unlike the others, also when the command line is built, without a server.
    Returns: click commands. A built-in command's name is not replaced.
    Raises: two commands with one name stop the program. Order: by name. Since: API 1.
    """
    raise NotImplementedError


@hookspec
def proxy_checks(ctx: PluginContext) -> Iterable[Check]:
    """Bring checks for ``proxy-core doctor``.

    Returns: checks; ``run`` may take a second and may touch files, not the network.
    Raises: what ``run`` raises is reported as that check's problem. Order: by name. Since: API 1.
    """
    raise NotImplementedError
