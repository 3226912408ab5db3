"""The ASGI application of one generation, with its pages."""

from __future__ import annotations

import time
from collections.abc import Mapping

from msgspec import Struct
from pydantic import SecretStr
from starlette.types import ASGIApp

from proxy_core.credentials.quotas import QuotaAsker
from proxy_core.dialects.openai_chat import NAME as COMMON
from proxy_core.models.directory import ModelDirectory
from proxy_core.models.info import ModelInfos
from proxy_core.models.suggestions import Suggestions
from proxy_core.models.token_count import TokenCounting
from proxy_core.pipeline.dry_run import DryRun
from proxy_core.pipeline.upstream_count import UpstreamCounting
from proxy_core.plugins.registry import Catalog
from proxy_core.rotation.pool import Pool
from proxy_core.server.admin import Operations
from proxy_core.server.app import build_app
from proxy_core.server.auth import ClientKeys
from proxy_core.server.cors import CrossOrigin
from proxy_core.server.dialect_services import ModelKnowledge
from proxy_core.server.info import Introspection
from proxy_core.server.operations import Served
from proxy_core.server.pages import Feeds, PageServices
from proxy_core.server.services import Services
from proxy_core.server.status_endpoint import Statuses
from proxy_core.server.wording import Wording
from proxy_core.settings.loading import LoadedSettings
from proxy_core.state.shared import SharedState
from proxy_core.status.view import StatusView


class Parts(Struct, frozen=True, kw_only=True):
    """What the application and its pages read from."""

    loaded: LoadedSettings
    catalog: Catalog
    pools: Mapping[str, Pool]
    services: Services
    directory: ModelDirectory
    dry_run: DryRun
    upstream_counting: UpstreamCounting
    model_infos: ModelInfos
    suggestions: Suggestions
    state: SharedState
    status: StatusView
    quotas: QuotaAsker
    feeds: Feeds


def application(parts: Parts, admin: SecretStr) -> ASGIApp:
    loaded, services, dialects = parts.loaded, parts.services, parts.catalog.dialects
    admin_keys = ClientKeys({"admin": admin}, services.keys.places, by_header=True)
    wording = Wording(dialects[COMMON], dialects.values(), services.keys.places)
    introspection = Introspection(
        catalog=parts.catalog,
        pools=parts.pools,
        keys=services.keys,
        health=parts.status.health,
    )
    operations = Operations(
        keys=admin_keys,
        admin_key=admin.get_secret_value(),
        router=services.router,
        pools=parts.pools,
        recent=services.recent,
        cost_of=services.prices.of_record,
        clean=parts.status.clean,
        model_problems=parts.directory.problems,
        dry_run=parts.dry_run,
        usage_of=parts.state.usage,
        runtime_dir=loaded.runtime_dir,
        wording=wording,
    )
    statuses = Statuses(
        view=parts.status, keys=admin_keys, admin_key=admin.get_secret_value(), runtime_dir=loaded.runtime_dir
    )
    pages = PageServices(
        keys=admin_keys, statuses=statuses, settings=loaded, wording=wording, faults=services.faults, feeds=parts.feeds
    )
    served = Served(
        clock=services.clock,
        keys=services.keys,
        services_of=_knowledge(parts).for_client,
        wording=wording,
        faults=services.faults,
        recent=services.recent,
        max_body_bytes=services.max_body_bytes,
    )
    app = build_app(
        parts.catalog,
        services,
        introspection,
        operations,
        statuses,
        pages,
        served,
    )
    origins = loaded.settings.server.cors_origins
    closed = ["/admin", *(page.path for page in parts.catalog.admin_pages)]
    return CrossOrigin(app, origins, closed) if origins else app


def _knowledge(parts: Parts) -> ModelKnowledge:
    services = parts.services
    return ModelKnowledge(
        directory=parts.directory,
        budgets=services.budgets,
        suggestions=parts.suggestions,
        router=services.router,
        routes=parts.loaded.settings.models,
        model_infos=parts.model_infos,
        prices=services.prices,
        counting=TokenCounting(parts.catalog.token_counters),
        upstream_counting=parts.upstream_counting,
        state=parts.state,
        kept=services.kept,
        status=parts.status,
        quotas=parts.quotas,
        started_at=int(time.time()),
    )
