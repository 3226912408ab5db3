"""The yardstick: a bare Starlette + Hypercorn + httpx relay, the kind one writes in ten minutes.

``python relay.py PORT UPSTREAM_PORT``. httpx runs over aiohttp, as its own transport takes four times as long.
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


def build(upstream: str) -> Starlette:
    clients: list[httpx.AsyncClient] = []

    def client() -> httpx.AsyncClient:
        if not clients:
            clients.append(httpx.AsyncClient(transport=AiohttpTransport(limits=_LIMITS), timeout=60))
        return clients[0]

    async def chat(request: Request) -> Response:
        body = await request.body()
        sent = client().build_request("POST", upstream, content=body, headers=_HEADERS)
        response = await client().send(sent, stream=True)
        if not response.headers["content-type"].startswith("text/event-stream"):
            return Response(await response.aread(), status_code=response.status_code, media_type="application/json")

        async def chunks() -> AsyncIterator[bytes]:
            try:
                async for chunk in response.aiter_raw():
                    yield chunk
            finally:
                await response.aclose()

        return StreamingResponse(chunks(), status_code=response.status_code, media_type="text/event-stream")

    return Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])])


def main(port: str, upstream_port: str) -> None:
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.keep_alive_max_requests = 10**9
    config.loglevel = "warning"
    app: Any = build(f"http://127.0.0.1:{upstream_port}/v1/chat/completions")
    uvloop.run(serve(app, config))


if __name__ == "__main__":
    main(*sys.argv[1:])
