"""Under a supervisor that speaks systemd's protocols: it opens the socket, and is told what the proxy does."""

import asyncio
import os
import re
import signal
import socket
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from benchmarks.shared_run import all_workers
from strange_plugins import installed

from proxy_core.testing.program import PROGRAM, run, serving

if os.name != "posix":
    pytest.skip("descriptors are passed on only on POSIX", allow_module_level=True)

#: Opens a socket as a supervisor does, and becomes the proxy.
OPENED = """
import os, socket, sys
sock = socket.create_server((sys.argv[1], 0))
os.dup2(sock.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=sys.argv[2] or str(os.getpid()))
os.execv(sys.argv[3], sys.argv[3:])
"""


def opened(host="127.0.0.1", pid=""):
    return (sys.executable, "-c", OPENED, host, pid, str(PROGRAM))


@asynccontextmanager
async def listening():
    """A supervisor's socket for reports; yields its address and what has been told."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        path = str(Path(folder) / "notify")
        sock.bind(path)
        sock.setblocking(False)
        told = []

        async def listen():
            while True:
                told.append((await asyncio.get_running_loop().sock_recv(sock, 1000)).decode())

        listener = asyncio.create_task(listen())
        yield path, told
        listener.cancel()


async def until(holds, within_s=20.0):
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.01)


@pytest.fixture
def home(home):
    (home / "proxy-core.toml").write_text('[clients.me]\nkey = "a-long-client-key"\n')
    return home


async def test_it_is_told_when_the_proxy_serves_that_it_lives_and_when_it_stops(home, http_server):
    async with listening() as (path, told):
        named = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "100000"}
        async with serving(home, "--server", http_server, **named) as program:
            await until(lambda: told.count("WATCHDOG=1") > 1)
            async with httpx.AsyncClient() as http:
                assert (await http.get(f"{program.url}/healthz")).status_code == 200
        await until(lambda: told[-1] == "STOPPING=1")

    assert told[0] == "READY=1"
    assert set(told[1:-1]) == {"WATCHDOG=1"}


HANGS = """
import time
from proxy_core import PluginInfo, Sanitizer, hookimpl
PLUGIN = PluginInfo(name="slow", api=1)
def ponder(request):
    if "ponder" in str(request.body):
        time.sleep(1000)
    return request
@hookimpl
def proxy_sanitizers(ctx):
    return [Sanitizer(name="slow", request=ponder)]
"""


async def ask(program, text):
    body = {"model": "demo/small", "messages": [{"role": "user", "content": text}]}
    headers = {"authorization": "Bearer a-long-client-key"}
    async with httpx.AsyncClient(timeout=60) as http:
        return await http.post(f"{program.url}/v1/chat/completions", json=body, headers=headers)


@pytest.mark.slow
async def test_with_workers_the_first_process_tells_it_that_they_live_and_when_they_stop(home):
    async with listening() as (path, told):
        async with serving(home, "--workers", "2", NOTIFY_SOCKET=path):
            await until(lambda: told.count("READY=1") == 2)
            await until(lambda: told.count("WATCHDOG=1") > 1)
            os.kill((await all_workers(home, 2))[0], signal.SIGTERM)
            await until(lambda: told.count("READY=1") == 3)
            assert "STOPPING=1" not in told
        await until(lambda: told[-1] == "STOPPING=1")


@pytest.mark.slow
async def test_a_worker_that_hangs_says_where_and_is_replaced(home, http_server, upstream):
    installed(home / "site", "slow", HANGS)
    demo = {"DEMO_API_BASE": upstream.url, "DEMO_API_KEY": "key-a", "PYTHONPATH": str(home / "site")}
    async with listening() as (path, told):
        named = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "4000000", **demo}
        async with serving(home, "--workers", "2", "--server", http_server, **named) as program:
            before = set(await all_workers(home, 2))
            with pytest.raises(httpx.HTTPError):
                await ask(program, "ponder this")
            await until(lambda: program.output.count("starting another") > 0, within_s=60)
            alive = told.count("WATCHDOG=1")
            await until(lambda: told.count("READY=1") > 2, within_s=60)
            after = set(await all_workers(home, 2))
            assert (await ask(program, "hi")).status_code == 200

    assert re.search(r"worker \d+ hangs: its event loop has not run for \d+ s; ending it", program.output)
    assert re.search(r'^    File ".*strange_slow.py", line \d+ in ponder$', program.output, re.MULTILINE)
    assert "\\x0a" not in program.output
    assert before != after
    assert alive > 2, "it was told so all the time"


@pytest.mark.slow
async def test_a_worker_that_was_stopped_is_replaced(home):
    async with serving(home, "--workers", "2", WATCHDOG_USEC="5000000") as program:
        worker = (await all_workers(home, 2))[0]
        os.kill(worker, signal.SIGSTOP)
        ended = f"worker {worker} ended with exit code -9; starting another"
        await until(lambda: ended in program.output, within_s=60)

    assert "It does not say where; it may have been stopped." in program.output


async def test_a_supervisor_that_does_not_listen_is_no_reason_to_stop(home):
    async with serving(home, NOTIFY_SOCKET=str(home / "nobody")) as program, httpx.AsyncClient() as http:
        assert (await http.get(f"{program.url}/healthz")).status_code == 200


async def test_a_file_cannot_say_where_to_report(home):
    async with listening() as (path, told):
        (home / ".env").write_text(f"NOTIFY_SOCKET={path}\nLISTEN_FDS=1\n")
        async with serving(home) as program, httpx.AsyncClient() as http:
            await http.get(f"{program.url}/healthz")

    assert told == []


async def test_the_proxy_serves_on_the_socket_that_it_is_given(home, http_server):
    async with (
        serving(home, "--port", "1", "--server", http_server, command=opened()) as program,
        httpx.AsyncClient() as http,
    ):
        assert (await http.get(f"{program.url}/healthz")).status_code == 200


async def test_a_socket_for_another_process_is_not_taken(home):
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    async with serving(home, "--port", str(port), command=opened(pid="1")) as program:
        assert program.url.endswith(f":{port}")


async def test_a_socket_that_others_can_reach_needs_a_client_key_like_any_other(home):
    (home / "proxy-core.toml").write_text("")

    code, said = await run(home, "serve", command=opened(host="0.0.0.0"))

    assert code == 2
    assert "LISTEN_FDS: 0.0.0.0 is reachable from other machines" in said
