"""``/admin/ui``: accounts, quotas, requests, usage and health of a running proxy, in the browser.

It reads the status that every admin page gets, and changes things by the same operations as the command line.
Templates and everything else that only a page needs are imported at the first page, not at the start.
"""

from __future__ import annotations

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

    async def respond(request: PageRequest) -> PageResponse:
        if not made:
            from proxy_plugin_dashboard.routes import Dashboard

            made.append(Dashboard(hosts=settings.allowed_hosts, logins=ctx.data_dir / "logins").respond)
        return await made[0](request)

    return respond
