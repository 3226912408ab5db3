"""The systems under test: how to start each one, where it listens, and what resources it uses."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from proxy_plugin_devkit.bench.load import Load, as_line, request_bytes
from proxy_plugin_devkit.bench.upstream import CHUNKS

KEY = "bench-client-key"
_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def pin(core: int) -> Callable[[], None] | None:
    """For ``preexec_fn``: pin a process to one core, where the operating system supports it."""
    if not hasattr(os, "sched_setaffinity") or (os.cpu_count() or 1) < 2:
        return None
    return lambda: os.sched_setaffinity(0, {core})


def script(name: str) -> list[str]:
    """The command that runs a program of this folder by its path; run as a module, it would import the plugin
    and, with it, proxy_core."""
    return [sys.executable, "-P", str(Path(__file__).with_name(f"{name}.py"))]


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """Something that relays. ``command`` takes its own port and the upstream's; the others take the upstream's."""

    name: str
    model: str
    command: Callable[[int, int], Sequence[str]]
    environment: Callable[[int], Mapping[str, str]] = field(default=lambda upstream: {})
    files: Callable[[int], Mapping[str, str]] = field(default=lambda upstream: {})


def relay() -> System:
    return System(name="relay", model="small", command=lambda port, up: [*script("relay"), str(port), str(up)])


#: What a user with two logins and API keys has: the plugins whose start and memory have targets.
USUAL_PLUGINS = ("gemini", "gemini_cli", "openai_compat", "qwen_code", "redaction")


def proxy_core(
    name: str = "proxy-core",
    *options: str,
    program: str | None = None,
    settings: str = "",
    environment: Mapping[str, str] | None = None,
) -> System:
    """proxy-core with every installed plugin and its default log; ``settings`` is more of its settings file."""
    given = program or str(Path(sys.executable).with_name("proxy-core"))

    def variables(up: int) -> Mapping[str, str]:
        # A key as long as a real one, because the secret filter searches every response for it.
        own = {"PROXY_API_KEY": KEY, "BENCH_API_BASE": f"http://127.0.0.1:{up}/v1", "BENCH_API_KEY": bench_key(1)}
        return {**own, **(environment or {})}

    return System(
        name=name,
        model="bench/small",
        command=lambda port, up: [given, "serve", "--port", str(port), *options],
        environment=variables,
        files=lambda up: {"proxy-core.toml": settings} if settings else {},
    )


def bench_key(number: int) -> str:
    return f"sk-{number:04}-" + "upstream-key" * 4


def litellm(python: str) -> System:
    """LiteLLM's proxy, run by a Python interpreter that has ``litellm[proxy]``."""

    def config(up: int) -> Mapping[str, str]:
        params = {"model": "openai/small", "api_base": f"http://127.0.0.1:{up}/v1", "api_key": "upstream-key"}
        model = {"model_name": "small", "litellm_params": params}
        return {"config.yaml": json.dumps({"model_list": [model], "litellm_settings": {"telemetry": False}})}

    program = str(Path(python).with_name("litellm"))
    return System(
        name="LiteLLM",
        model="small",
        command=lambda port, up: [program, "--config", "config.yaml", "--port", str(port), "--host", "127.0.0.1"],
        environment=lambda up: {"LITELLM_MASTER_KEY": KEY, "LITELLM_LOG": "ERROR"},
        files=config,
    )


@dataclass(slots=True)
class Running:
    """A started system."""

    system: System
    process: subprocess.Popen[bytes]
    port: int
    cold_start_s: float

    def cpu_s(self) -> float:
        """CPU time that the process and its children have used so far."""
        total = 0
        for pid in _tree(self.process.pid):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total / _TICK

    def cpu_us(self, load: Load) -> tuple[dict[str, float], float]:
        """The result of a load, and the CPU time per request that the system used for it, in microseconds."""
        before = self.cpu_s()
        result = drive(load)
        return result, (self.cpu_s() - before) / result["count"] * 1e6

    def resident_mb(self) -> float:
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in _tree(self.process.pid))
        return pages * _PAGE / 1024 / 1024

    def load(self, **fields: float | str) -> Load:
        return Load(port=self.port, key=KEY, model=self.system.model, chunks=CHUNKS, **fields)  # type: ignore[arg-type]  # by name


def _tree(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(grandchild for child in children for grandchild in _tree(int(child)))]


@contextmanager
def upstream(
    command: Callable[[int], Sequence[str]] | None = None, folder: Path | None = None, port: int = 0
) -> Iterator[int]:
    """Run a fake upstream on core 1 and yield its port; the program is ``upstream.py``, or ``command(port)``."""
    port = port or free_port()
    given = command(port) if command else [*script("upstream"), str(port)]
    process = subprocess.Popen(given, cwd=folder, preexec_fn=pin(1))
    try:
        _wait_for_port(port, process)
        yield port
    finally:
        process.kill()
        process.wait()


@contextmanager
def running(system: System, upstream_port: int, *, pinned: bool = True) -> Iterator[Running]:
    """Start a system, on core 0 if it is ``pinned``, with an empty home directory, and time it until its first 200."""
    port = free_port()
    with tempfile.TemporaryDirectory() as home:
        for name, text in system.files(upstream_port).items():
            Path(home, name).write_text(text)
        folders = {"HOME": home, "XDG_DATA_HOME": f"{home}/data", "XDG_CONFIG_HOME": f"{home}/config"}
        began = time.perf_counter()
        process = subprocess.Popen(
            system.command(port, upstream_port),
            cwd=home,
            env={"PATH": os.environ["PATH"], **folders, **system.environment(upstream_port)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=pin(0) if pinned else None,
        )
        try:
            _wait_for_port(port, process)
            started = Running(system, process, port, 0.0)
            _wait_for_response(started)
            started.cold_start_s = time.perf_counter() - began
            yield started
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for_port(port: int, process: subprocess.Popen[bytes], limit_s: float = 90) -> None:
    deadline = time.perf_counter() + limit_s
    while time.perf_counter() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            time.sleep(0.002)
    raise RuntimeError(f"nothing listens on {port} after {limit_s} s")


def _wait_for_response(started: Running, limit_s: float = 60) -> None:
    message, deadline = request_bytes(started.load(kind="plain")), time.perf_counter() + limit_s
    while time.perf_counter() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", started.port), 5) as sock:
                sock.sendall(message)
                if sock.recv(65536).startswith(b"HTTP/1.1 200"):
                    return
        except OSError:
            pass
        time.sleep(0.005)
    raise RuntimeError(f"{started.system.name} does not respond")


def drive(load: Load) -> dict[str, float]:
    """Run a load from core 1 and return its result."""
    done = subprocess.run(
        script("load"),
        input=as_line(load).encode(),
        capture_output=True,
        check=False,
        preexec_fn=pin(1),
    )
    if done.returncode:
        raise RuntimeError(done.stderr.decode()[-2000:])
    result: dict[str, float] = json.loads(done.stdout)
    return result
