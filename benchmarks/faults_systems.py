"""The parts of a fault run: the real program with low limits, the faulty upstream and its log, and the clients."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.faults_check import Bounds
from benchmarks.faults_load import FaultLoad, Seen
from benchmarks.faulty import Attempt
from proxy_plugin_devkit.bench.systems import KEY, Running, System, pin, upstream

#: The folder from which ``benchmarks`` can be imported; it is not an installed package.
_ROOT = Path(__file__).parent.parent
_MODEL = "faulty/small"
_ADMIN_KEY = "bench-admin-key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A fault run: its size, and the proxy's limits."""

    requests: int = 10_000
    concurrency: int = 64
    credentials: int = 20
    seed: int = 1
    bounds: Bounds = Bounds(max_wait_s=30, first_event_s=3, idle_s=3, max_cooldown_s=10)
    half_open_after_s: float = 2.5
    served: float = 0.9
    longest_s: float = 1200


def program(run: Run, keys: int, log: Path) -> System:
    """The real program with one provider that has ``keys`` keys, low limits, and its log in ``log``."""

    def settings(upstream_port: int) -> Mapping[str, str]:
        tables: dict[str, dict[str, object]] = {
            "clients.load": {"key": KEY},
            "admin": {"key": _ADMIN_KEY},
            "providers.faulty": {
                "base_url": f"http://127.0.0.1:{upstream_port}/v1",
                "api_keys": [f"k{number}" for number in range(keys)],
                "discover": False,
            },
            "timeouts": {"first_event_s": run.bounds.first_event_s, "idle_s": run.bounds.idle_s},
            "routing": {
                "max_wait_s": run.bounds.max_wait_s,
                "max_cooldown_s": run.bounds.max_cooldown_s,
                "half_open_after_s": run.half_open_after_s,
            },
            "log": {"level": "warning", "folder": str(log)},
        }
        return {"proxy-core.toml": "\n".join(_table(name, values) for name, values in tables.items())}

    command = str(Path(sys.executable).with_name("proxy-core"))
    return System(
        name="proxy-core",
        model=_MODEL,
        command=lambda port, up: [command, "serve", "--port", str(port)],
        files=settings,
    )


def _table(name: str, values: Mapping[str, object]) -> str:
    # Strings, numbers, booleans and lists of strings look the same in JSON and TOML.
    return "\n".join([f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items()), ""])


def faulty_upstream(seed: int, dead: int) -> AbstractContextManager[int]:
    """The port of an upstream that fails in every way; it always refuses its first ``dead`` keys."""
    return upstream(lambda port: [sys.executable, "-m", "benchmarks.faulty", str(port), str(seed), str(dead)], _ROOT)


@contextmanager
def clients(load: FaultLoad) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], list[Seen]]]]:
    """The load in its own process, and a function that reads its results once it has ended."""
    with tempfile.TemporaryFile() as seen, tempfile.TemporaryFile() as wish:
        wish.write(json.dumps(asdict(load)).encode() + b"\n")
        wish.seek(0)
        command = [sys.executable, "-m", "benchmarks.faults_load"]
        process = subprocess.Popen(command, stdin=wish, stdout=seen, cwd=_ROOT, preexec_fn=pin(1))

        def read() -> list[Seen]:
            seen.seek(0)
            return [Seen(**json.loads(line)) for line in seen]

        try:
            yield process, read
        finally:
            process.kill()
            process.wait()


def _get(port: int, path: str, key: str = "") -> Any:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def attempts_of(upstream_port: int) -> list[Attempt]:
    return [Attempt(**fields) for fields in _get(upstream_port, "/log")]


def why(port: int) -> Any:
    """The proxy's report on the model's credentials; ``None`` if it has no such endpoint."""
    try:
        return _get(port, f"/admin/why?model={_MODEL}", _ADMIN_KEY)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise


def in_flight(value: Any) -> list[int]:
    """Every ``in_flight`` in a report, at any depth."""
    if isinstance(value, dict):
        own = [value["in_flight"]] if isinstance(value.get("in_flight"), int) else []
        return own + [count for part in value.values() for count in in_flight(part)]
    return [count for part in value for count in in_flight(part)] if isinstance(value, list) else []


def load_of(run: Run, proxy: Running, **fields: Any) -> FaultLoad:
    """A load for this run on a running program."""
    patience_s = run.bounds.request_s + 10
    return FaultLoad(port=proxy.port, key=KEY, model=_MODEL, seed=run.seed, patience_s=patience_s, **fields)
