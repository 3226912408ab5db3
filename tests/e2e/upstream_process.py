"""The scripted upstream as a program of its own: prints its address and runs until it is ended."""

import asyncio

from proxy_core.testing import FakeUpstream


async def main():
    async with FakeUpstream() as upstream:
        upstream.for_path("/embeddings").responds(
            json_body={
                "object": "list",
                "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -1.0]}],
                "model": "small",
                "usage": {"prompt_tokens": 1, "total_tokens": 1},
            }
        )
        print(upstream.url, flush=True)
        await asyncio.Event().wait()


asyncio.run(main())
