"""The short form of ``python -m benchmarks.refresh``: killed processes share one rotating refresh token."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("provider", ["example", "gemini_cli"])
def test_processes_that_are_killed_spend_no_token_twice_and_lose_none_unexplained(provider):
    command = f"-m benchmarks.refresh --provider {provider} --refreshes 30 --workers 1 --kill-every 0.3 --limit 60"
    done = subprocess.run(
        [sys.executable, *command.split()], cwd=ROOT, capture_output=True, text=True, timeout=150, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    refreshes, kills = map(int, re.match(r"(\d+) refreshes, (\d+) kills", done.stdout).groups())
    assert refreshes >= 5
    assert kills
