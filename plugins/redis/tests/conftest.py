"""A real server for the tests, in its own folder and on its own port; there is no fake."""

from __future__ import annotations

import random
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from proxy_plugin_redis.address import read_address
from proxy_plugin_redis.backend import RedisBackend

PASSWORD = "pass:word/0123456789@#%"
QUOTED = "pass%3Aword%2F0123456789%40%23%25"


def free_port():
    """Below the ports that the system assigns by itself, so that it stays free while a server is down.

    A node of a cluster takes the port 10,000 above, too.
    """
    while True:
        port = random.randrange(10_000, 22_000)
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port


class Server:
    """``redis-server`` or ``valkey-server`` as a child process."""

    opened = []  # noqa: RUF012

    def __init__(self, folder: Path, *options: str) -> None:
        self.binary = shutil.which("redis-server") or shutil.which("valkey-server")
        self.folder, self.options = folder, options
        self.port = free_port()
        self.process = None

    def start(self):
        command = [self.binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        settings = ["--save", "", "--appendonly", "no", "--requirepass", PASSWORD, *self.options]
        self.process = subprocess.Popen([*command, *settings], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while self.command("PING") != "+PONG":
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.005)

    def stand_still(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def command(self, *words):
        """Send one command over its own connection; returns the first line of the result, or what follows a length."""
        lines = self.ask(*words)
        return lines[1] if lines and lines[0][:1] == "$" and len(lines) > 1 else (lines[0] if lines else "")

    def ask(self, *words):
        said = b""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as line:
                for command in (("AUTH", PASSWORD), words, ("QUIT",)):
                    packed = "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in map(str, command))
                    line.sendall(f"*{len(command)}\r\n{packed}".encode())
                while data := line.recv(65536):
                    said += data
        except OSError:
            return []
        return said.decode().split("\r\n")[1:-2]

    def url(self, **query):
        rest = "?" + "&".join(f"{name}={value}" for name, value in query.items()) if query else ""
        return f"redis://:{QUOTED}@127.0.0.1:{self.port}/0{rest}"

    def open(self, url=None, *, timeout_s=2.0):
        self.opened.append(RedisBackend(read_address(url or self.url(), prefix="test"), timeout_s=timeout_s))
        return self.opened[-1]


@pytest.fixture(scope="session")
def new_server(tmp_path_factory):
    """Starts a server with its own options; if the test does not stop it, the end of the session does."""
    servers = []

    def start(*options):
        server = Server(tmp_path_factory.mktemp("redis"), *options)
        if server.binary is None:
            pytest.skip("needs redis-server or valkey-server")
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def shared_server(new_server):
    return new_server()


@pytest.fixture
def server(shared_server, backends):
    """The tests' server, empty."""
    shared_server.command("FLUSHALL")
    return shared_server


@pytest.fixture
def own_server(new_server, backends):
    """A server that the test may stop and start again."""
    server = new_server()
    yield server
    server.stop()


@pytest.fixture
async def backends():
    """Opens stores and closes them at the end of the test."""
    opened = Server.opened = []
    yield opened
    for backend in opened:
        await backend.close()


@pytest.fixture
def opened(server):
    """Opens the store as often as it is called."""
    return server.open
