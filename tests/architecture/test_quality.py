"""What the tools say of the tree."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command, timeout_s=600):
    return subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=timeout_s)


LINTS = {"lint": ("ruff", "check", "."), "format": ("ruff", "format", "--check", ".")}
TYPES = {"types": ("mypy",), "types of the benchmarks": ("mypy", "-p", "benchmarks")}


@pytest.mark.parametrize("command", LINTS.values(), ids=LINTS)
def test_the_tree_is_clean(command):
    done = run(*command)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", TYPES.values(), ids=TYPES)
def test_the_types_are_right(command):
    done = run(*command)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_properties_hold_for_many_examples():
    folders = ("core/tests", "plugins", "tests")
    done = run("pytest", "-q", "-n2", "-m", "hypothesis", "--hypothesis-profile=many", *folders, timeout_s=900)

    assert done.returncode == 0, done.stdout + done.stderr
