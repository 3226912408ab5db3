"""The example plugin as an installed one, and commands that are typed to."""

import asyncio
import re
from contextlib import asynccontextmanager

from proxy_core.testing import run
from proxy_core.testing.program import start

PLUGIN = """
from collections.abc import Iterable

from pydantic import Field

from proxy_core import Check, CredentialRefresher, Lifecycle, PluginInfo, PluginSettings, Provider, hookimpl
from proxy_core.testing.example_oauth import example_provider
from proxy_plugin_oauth.testing import example_refresher
from msgspec.structs import replace


class Settings(PluginSettings):
    base: str = Field("http://127.0.0.1:1")
    password: str = Field("")
    complaint: str = Field("")


PLUGIN = PluginInfo(name="example", api=1, settings=Settings, providers=["ex_ample"])
LIFE = Lifecycle(status="limited", note="A fake vendor.", link="https://vendor.example/terms")


@hookimpl
def proxy_providers(ctx) -> Iterable[Provider]:
    return [replace(example_provider(ctx.settings(Settings).base), name="ex_ample", lifecycle=LIFE)]


@hookimpl
def proxy_credential_refreshers(ctx) -> Iterable[CredentialRefresher]:
    return [example_refresher(ctx.settings(Settings).base)]


@hookimpl
def proxy_checks(ctx) -> Iterable[Check]:
    complaint = ctx.settings(Settings).complaint
    return [Check(name="example", run=lambda: complaint or None)]
"""


def install(home, server):
    """A distribution on ``PYTHONPATH``; the variables a command needs to have it."""
    site = home / "site"
    about = site / "proxy_plugin_example-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "proxy_plugin_example_oauth.py").write_text(PLUGIN)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: proxy-plugin-example\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[proxy_core.plugins]\nexample = proxy_plugin_example_oauth\n")
    return {
        "PYTHONPATH": str(site),
        "PROXY_PLUGINS__EXAMPLE__BASE": server.base,
        "PROXY_DATA_DIR": str(home / "data"),
    }


class Talk:
    """A running command: its lines as they come, and its standard input."""

    def __init__(self, process):
        self.process = process
        self.output = ""

    async def until(self, pattern):
        """The match, once it was printed."""
        async with asyncio.timeout(20):
            while not (found := re.search(pattern, self.output)):
                data = await self.process.stdout.read(4096)
                assert data, self.output
                self.output += data.decode()
        return found

    def type(self, text):
        self.process.stdin.write(text.encode() + b"\n")

    async def end(self):
        """Its exit code."""
        self.process.stdin.close()
        return await self.rest()

    async def rest(self):
        async with asyncio.timeout(20):
            while data := await self.process.stdout.read(4096):
                self.output += data.decode()
            return await self.process.wait()


@asynccontextmanager
async def talking(home, variables, *arguments):
    process = await start(home, *arguments, **variables)
    try:
        yield Talk(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        process.stdin.close()


async def typed(home, variables, *arguments, stdin=""):
    """A command to its end, with this typed in: exit code and output."""
    return await run(home, *arguments, stdin=stdin and stdin + "\n", **variables)
