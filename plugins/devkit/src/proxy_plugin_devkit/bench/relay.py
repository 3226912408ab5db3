"""The yardstick: a bare Starlette + Hypercorn + httpx relay, as one would write it in ten minutes.

``python relay.py PORT UPSTREAM_PORT (aiohttp|httpx)``
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx
import uvloop
from httpx_aiohttp import AiohttpTransport
from hypercorn.asyncio import serve
from hypercorn.config import Config
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

_LIMITS = httpx.Limits(max_connections=1000, max_keepalive_connections=1000)
_HEADERS = {"authorization": "Bearer upstream-key", "content-type": "application/json"}


def build(upstream: str, transport: str) -> Starlette:
    clients: list[httpx.AsyncClient] = []

    def client() -> httpx.AsyncClient:
        if not clients:
            carried: Any = AiohttpTransport(limits=_LIMITS) if transport == "aiohttp" else None
            clients.append(httpx.AsyncClient(transport=carried, limits=_LIMITS, timeout=60))
        return clients[0]

    async def chat(request: Request) -> Response:
        body = await request.body()
        sent = client().build_request("POST", upstream, content=body, headers=_HEADERS)
        reply = await client().send(sent, stream=True)
        if not reply.headers["content-type"].startswith("text/event-stream"):
            return Response(await reply.aread(), status_code=reply.status_code, media_type="application/json")

        async def pieces() -> AsyncIterator[bytes]:
            try:
                async for piece in reply.aiter_raw():
                    yield piece
            finally:
                await reply.aclose()

        return StreamingResponse(pieces(), status_code=reply.status_code, media_type="text/event-stream")

    return Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])])


def main(port: str, upstream_port: str, transport: str) -> None:
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.keep_alive_max_requests = 10**9
    config.loglevel = "warning"
    app: Any = build(f"http://127.0.0.1:{upstream_port}/v1/chat/completions", transport)
    uvloop.run(serve(app, config))


if __name__ == "__main__":
    main(*sys.argv[1:])
