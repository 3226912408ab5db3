"""Counts the calls that a program makes: ``python counted.py FILE PROGRAM ARGUMENT...``.

At each SIGUSR1 the number of calls so far, of Python and of C functions in the main thread, is written to
FILE. It imports nothing else from here.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from types import FrameType
from typing import Any


def main(file: str, program: str) -> None:
    calls = 0

    def count(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal calls
        if event in ("call", "c_call"):
            calls += 1

    def write(*_: object) -> None:
        with open(f"{file}.new", "w") as out:
            out.write(str(calls))
        os.replace(f"{file}.new", file)

    signal.signal(signal.SIGUSR1, write)
    sys.setprofile(count)
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    file, *sys.argv = sys.argv[1:]
    main(file, sys.argv[0])
