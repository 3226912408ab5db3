"""Refreshes under fire, see :mod:`benchmarks.refresh_fire`: ``python -m benchmarks.refresh --refreshes 1000``."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks.refresh_fire import report, soak
from benchmarks.refresh_vendors import VENDORS


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.refresh", description=__doc__)
    parser.add_argument(
        "--provider", choices=VENDORS, default="example", help="the vendor whose file and server to use"
    )
    parser.add_argument("--refreshes", type=int, default=1000)
    parser.add_argument("--proxies", type=int, default=3)
    parser.add_argument("--workers", type=int, default=4, help="workers per proxy")
    parser.add_argument("--kill-every", type=float, default=0.5, metavar="S", help="seconds between kills, on average")
    parser.add_argument("--reuse", type=float, default=0.0, metavar="S", help="the server's reuse window")
    parser.add_argument(
        "--delay", type=float, default=0.0, metavar="S", help="time from spending a token to the response"
    )
    parser.add_argument("--limit", type=float, default=1800.0, metavar="S")
    parser.add_argument("--pause", type=float, default=0.02, help="longest pause of a worker")
    return parser.parse_args()


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        more: Mapping[str, object] = {
            "vendor": options.provider,
            "proxies": options.proxies,
            "workers": options.workers,
            "kill_s": options.kill_every,
            "pause_s": options.pause,
            "outside": True,
            "reuse_s": options.reuse,
            "delay_s": options.delay,
        }
        result = asyncio.run(soak(Path(folder), refreshes=options.refreshes, limit_s=options.limit, **more))
    print("\n".join(report(result)))
    return 0 if result.good else 1


if __name__ == "__main__":
    sys.exit(main())
