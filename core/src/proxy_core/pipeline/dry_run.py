"""Dry run: the path that a request would take, without sending anything or lending a credential."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from proxy_core.errors import BadRequest, ProxyError
from proxy_core.interfaces import Deployment, Dialect, ProxyRequest
from proxy_core.messages import JsonObject
from proxy_core.models.routing import Router
from proxy_core.pipeline.calls import Calls
from proxy_core.pipeline.candidate import candidate_of
from proxy_core.pipeline.sanitize import Sanitizers
from proxy_core.rotation.explain import as_json, decided
from proxy_core.rotation.pool import Pool

_DIALECT = "openai_chat"


class DryRun(Struct, eq=False):
    """Called with a request body, of which only ``model`` is required. ``client`` and ``dialect`` may be in it."""

    _dialects: Mapping[str, Dialect]
    _router: Router
    _sanitizers: Sanitizers
    _calls: Calls
    _pools: Mapping[str, Pool]
    _clean: Callable[[str], str]

    def __call__(self, body: JsonObject) -> dict[str, Any]:
        """Raises the ``ProxyError`` that would end the request before any upstream is contacted."""
        client, name = body.pop("client", "dry-run"), body.pop("dialect", _DIALECT)
        if not isinstance(client, str):
            raise BadRequest("client must be a string.", param="client")
        if not isinstance(name, str) or name not in self._dialects:
            raise BadRequest(f"There is no dialect {name!r}.", param="dialect")
        dialect = self._dialects[name]
        if dialect.family == "embeddings":
            body.setdefault("input", "hi")
        else:
            body.setdefault("messages", [{"role": "user", "content": "hi"}])
        dialect.check(body)
        request = ProxyRequest(
            id="dry-run",
            client=client,
            dialect=name,
            model=body["model"],
            stream=bool(body.get("stream")),
            body=body,
        )
        changed_by: list[str] = []
        deployments = self._router.resolve(request.model)
        request = self._sanitizers.request(request, changed_by)
        able = self._calls.able(request, deployments)
        return {"changed_by": changed_by, "steps": [self._step(request, deployment) for deployment in able]}

    def _step(self, request: ProxyRequest, deployment: Deployment) -> dict[str, Any]:
        pool = self._pools[deployment.provider.name]
        candidate = candidate_of(deployment, pool, self._calls.dialect(request).family, request.client)
        unable, max_priority = candidate.unable, candidate.max_priority
        credential = pool.peek(request, deployment.model, candidate.out, max_priority)
        found = decided(pool, deployment.model, None, set(), deployment, 0.0, max_priority, unable, candidate.kept)
        step = as_json(replace(found, chosen=credential.id if credential is not None else None), self._clean)
        if credential is None:
            return step
        try:
            message = self._calls.prepare(request, deployment, None).encode(credential)
        except ProxyError as error:
            return {**step, "cannot": error.message}
        parts = urlsplit(message.url)  # a query may hold a key
        return {**step, "would_send": f"{message.method} {parts.scheme}://{parts.netloc}{parts.path}"}
