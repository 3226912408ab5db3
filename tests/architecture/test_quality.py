"""What the tools say of the tree."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command):
    return subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=170)


CHECKS = {
    "types": ("mypy",),
    "types of the benchmarks": ("mypy", "-p", "benchmarks"),
    "lint": ("ruff", "check", "."),
    "format": ("ruff", "format", "--check", "."),
}


@pytest.mark.parametrize("command", CHECKS.values(), ids=CHECKS)
def test_the_tree_is_clean(command):
    done = run(*command)

    assert done.returncode == 0, done.stdout + done.stderr
