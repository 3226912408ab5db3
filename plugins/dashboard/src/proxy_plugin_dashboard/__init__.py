"""``/admin/ui``: accounts, quotas, requests, usage and health of a running proxy, in the browser.

It reads the status that every admin page gets, and changes things by the same operations as the command line.
Templates and everything else that only a page needs are imported at the first page, not at the start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from pydantic import Field

from proxy_core import AdminPage, PageRequest, PageResponse, PluginContext, PluginInfo, PluginSettings, hookimpl

_METHODS = ("GET", "POST")


class DashboardSettings(PluginSettings):
    """``[plugins.dashboard]``."""

    allowed_hosts: list[str] = Field(
        default_factory=list,
        description="Names under which browsers may open the dashboard, besides ``localhost`` and addresses (IP).",
    )


PLUGIN = PluginInfo(name="dashboard", api=1, settings=DashboardSettings)


@hookimpl
def proxy_admin_pages(ctx: PluginContext) -> Iterable[AdminPage]:
    # Public for the core, because a browser cannot send the admin key with a link: the cookie is checked here.
    respond = _responder(ctx, ctx.settings(DashboardSettings))
    paths = ("/admin/ui", "/admin/ui/*")
    return [AdminPage(path=path, respond=respond, methods=_METHODS, public=True) for path in paths]


def _responder(ctx: PluginContext, settings: DashboardSettings) -> Callable[[PageRequest], Awaitable[PageResponse]]:
    made: list[Callable[[PageRequest], Awaitable[PageResponse]]] = []

    def make() -> Callable[[PageRequest], Awaitable[PageResponse]]:
        from proxy_plugin_dashboard.routes import Dashboard

        return Dashboard(hosts=settings.allowed_hosts, logins=ctx.data_dir / "logins").respond

    async def respond(request: PageRequest) -> PageResponse:
        if not made:
            # In a thread: to import what a page needs takes longer than other requests should wait.
            made.append(await asyncio.to_thread(make))
        return await made[0](request)

    return respond
