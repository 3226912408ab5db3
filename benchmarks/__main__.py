"""``python -m benchmarks`` in a clone is ``proxy-core bench``."""

from __future__ import annotations

from proxy_plugin_devkit.bench.command import command

if __name__ == "__main__":
    command(prog_name="python -m benchmarks")
