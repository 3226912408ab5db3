"""Under a supervisor that speaks systemd's protocols: it opens the socket, and is told what the proxy does."""

import asyncio
import os
import socket
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

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
def home(tmp_path):
    (tmp_path / "proxy-core.toml").write_text('[clients.me]\nkey = "a-long-client-key"\n')
    return tmp_path


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


@pytest.mark.slow
async def test_it_is_told_by_a_worker_too(home):
    async with listening() as (path, told), serving(home, "--workers", "2", NOTIFY_SOCKET=path):
        await until(lambda: told.count("READY=1") == 2)


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
