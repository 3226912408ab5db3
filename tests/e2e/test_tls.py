"""The bundle of certificate authorities is read once in a process, and never on the event loop."""

import json
import subprocess
import sys

#: Counts in a process of its own, because other tests build contexts too.
PROGRAM = """
import asyncio, json, ssl, sys, tempfile, threading
from pathlib import Path

read_by = []
read = ssl.SSLContext.load_verify_locations


def counted(self, *args, **kwargs):
    read_by.append(threading.current_thread() is threading.main_thread())
    return read(self, *args, **kwargs)


ssl.SSLContext.load_verify_locations = counted

from proxy_core.interfaces import FetchLimits
from proxy_core.network.fetch import GuardedFetcher
from proxy_core.testing import FakeUpstream, run_proxy


async def main(folder):
    async with FakeUpstream() as upstream:
        provider = {"base_url": upstream.url, "api_keys": ["key-a"]}
        settings = {"providers": {"demo": provider}, "upstream": {"fetch_links": "anywhere"}}
        async with run_proxy(settings, folder=folder / "1") as one, run_proxy(settings, folder=folder / "2") as two:
            statuses = []
            for key in ("key-b", "key-c"):
                for proxy in (one, two):
                    statuses.append((await proxy.chat("demo/small", "hi")).status)
                    assert (await proxy.reload(providers={"demo": {**provider, "api_keys": [key]}})).reloaded
                    statuses.append((await proxy.chat("demo/small", "hi")).status)
        upstream.for_path("/picture").responds(body=b"x", headers={"content-type": "image/png"})
        async with GuardedFetcher(user_agent="test", reach="anywhere") as fetcher:
            await fetcher.fetch(upstream.url + "/picture", FetchLimits())
    print(json.dumps({"statuses": statuses, "on_the_main_thread": read_by}))


with tempfile.TemporaryDirectory() as folder:
    asyncio.run(main(Path(folder)))
"""


def test_several_proxies_their_reloads_and_the_fetcher_share_one_context():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["statuses"] == [200] * 8
    assert told["on_the_main_thread"] == [False], "read once, by another thread than the event loop's"
