"""One request can be read in one sitting: the files that a streamed one runs through, from first byte to last.

A real request, relayed from a real upstream, is traced: every function of the core that runs in its
tasks, from before its first byte is read until its last byte is written. What runs is either of the
path, which README's map lists in reading order, or one of the branches named below. A branch is
consulted: it computes a value or notes one. It never waits, and of the path it only makes or looks at objects.
"""

import asyncio
import inspect
import json
import re
import sys
from contextvars import ContextVar
from pathlib import Path

import pytest

import proxy_core
from proxy_core.testing.proxy import CLIENT_KEY, prepare_proxy

ROOT = Path(__file__).parents[2]
CORE = Path(proxy_core.__file__).parent
MAX_FILES, MAX_LINES = 8, 1500

#: By folder or file; why it need not be read to follow a request.
BRANCHES = {
    # Values that cross it, and where they come from.
    "interfaces/": "values",
    "settings/": "values",
    "messages/": "values",
    "errors.py": "values",
    # Pure functions: bytes or values in, values out.
    "dialects/": "a wire format: checks a body, finds usage in events",
    "sse.py": "where an event ends",
    "jsons/": "JSON in, values out",
    "pipeline/calls.py": "from the client's wire format to the provider's, and back",
    "pipeline/relayed.py": "finds events, usage and the commit point in bytes",
    "pipeline/secret_filter.py": "takes a secret out of bytes",
    "pipeline/sanitize.py": "plugins' filters, in order",
    "pipeline/guard.py": "a sanitizer",
    "pipeline/in_place.py": "notices plugins that change a body in place",
    "plugins/": "measures plugins' functions, and looks at what they return",
    "pipeline/candidate.py": "what a request knows of a deployment",
    "failures/": "reads rate-limit headers",
    "network/connections.py": "aiohttp's connections, opened once and kept",
    "network/headers.py": "of a request and of a response",
    "network/upload.py": "in which form a body is sent",
    "network/routes.py": "by which way a host is reached",
    "models/": "which deployments a model has",
    "server/request_headers.py": "reads a client's headers, makes ours",
    "server/auth.py": "whose key this is",
    "server/bodies.py": "what of a body has arrived",
    # How a pool picks, and what it remembers of it.
    "rotation/": "below the pool",
    # Counts and notes.
    "state/budgets.py": "what a client has left",
    "server/services.py": "which requests run",
    "pipeline/trace.py": "notes for the record",
    "records/": "the log",
    "status/": "counts",
}
#: Around every request rather than on its way.
AROUND = {
    "clock.py": "waits as asyncio does",
    "runtime/": "which generation of settings serves a request",
    "server/app.py": "which endpoint serves an address",
}

#: What branches ask of the path's objects.
LOOKED_AT = {"Pool.__len__", "Lease.index", "Lease.probes"}

TRACED = ContextVar("TRACED", default=False)


async def test_a_streamed_request_runs_through_few_files(path_run, mapped):
    path, _ = path_run
    sizes = {name: len((CORE / name).read_text().splitlines()) for name in path}

    assert set(path) == set(mapped), "README's map lists other files"
    assert len(path) <= MAX_FILES
    assert sum(sizes.values()) <= MAX_LINES, sizes


async def test_a_branch_never_waits_and_never_leads_on(path_run):
    path, calls = path_run
    branches = {name for name, *_ in calls if is_branch(name) and name not in path}

    assert sorted(name for name, _, _, waits in calls if waits and name in branches) == []
    back = {function for name, function, caller, _ in calls if name in path and caller in branches}
    assert {function for function in back if not function.endswith(".__init__")} <= LOOKED_AT


def test_every_branch_is_there():
    assert [name for name in (*BRANCHES, *AROUND) if not (CORE / name).exists()] == []


@pytest.fixture(scope="module")
def mapped():
    """The files of the path as README's map has them."""
    text = (ROOT / "README.md").read_text()
    return re.findall(r"^\d\. `([a-z_/]+\.py)`", text.partition("\n### One request\n")[2], re.MULTILINE)


def is_branch(name):
    return name in BRANCHES or any(name.startswith(folder) for folder in BRANCHES if folder.endswith("/"))


@pytest.fixture
async def path_run(tmp_path, upstream, mapped):
    """The path's files, and ``(file, function, its caller's file, whether it may wait)`` of every call there was."""
    upstream.streams("hel", "lo", usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}, gap_s=0.01)
    provider = {"base_url": upstream.url, "api_keys": ["a-key-that-is-long-enough-to-be-a-secret"]}
    running = prepare_proxy({"providers": {"demo": provider}}, folder=tmp_path)
    calls = set()

    def profile(frame, event, arg):
        if event == "call" and TRACED.get() and (name := of_core(frame)) is not None:
            caller = of_core(frame.f_back) if frame.f_back is not None else None
            waits = bool(frame.f_code.co_flags & (inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR))
            calls.add((name, frame.f_code.co_qualname, caller, waits))

    async with lifespan(running.active):
        await ask(running.active, None)  # imports and connections are made once
        body = await ask(running.active, profile)

    assert b"hel" in body and body.rstrip().endswith(b"data: [DONE]")
    on_path = {name for name, *_ in calls if (not is_branch(name) and not is_around(name)) or name in mapped}
    return sorted(on_path), calls


def is_around(name):
    return any(name.startswith(around) for around in AROUND)


def of_core(frame):
    file = Path(frame.f_code.co_filename)
    return file.relative_to(CORE).as_posix() if file.is_relative_to(CORE) else None


class lifespan:
    def __init__(self, app):
        self.app, self.stop, self.started = app, asyncio.Event(), asyncio.Event()

    async def receive(self):
        if self.started.is_set():
            await self.stop.wait()
        return {"type": "lifespan.shutdown" if self.started.is_set() else "lifespan.startup"}

    async def send(self, message):
        self.started.set()

    async def __aenter__(self):
        self.task = asyncio.create_task(self.app({"type": "lifespan"}, self.receive, self.send))
        await self.started.wait()

    async def __aexit__(self, *exc):
        self.stop.set()
        await self.task


async def ask(app, profile):
    """One streamed request; the profiler sees it from before its first byte until its last."""
    content = json.dumps({"model": "demo/small", "messages": [{"role": "user", "content": "hi"}], "stream": True})
    messages, body, left = [{"type": "http.request", "body": content.encode()}], [], asyncio.Event()
    headers = [(b"authorization", f"Bearer {CLIENT_KEY}".encode())]

    async def receive():
        if messages:
            return messages.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        body.append(message.get("body", b""))
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            sys.setprofile(None)

    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": headers, "query_string": b""}

    async def run():
        TRACED.set(True)
        sys.setprofile(profile)
        try:
            await app(scope, receive, send)
        finally:
            sys.setprofile(None)

    await asyncio.create_task(run())
    return b"".join(body)
