"""What several tests of packages need."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    """A folder with those of all packages."""
    folder = tmp_path_factory.mktemp("wheels")
    uv = shutil.which("uv") or pytest.skip("needs uv")
    command = [uv, "build", "--quiet", "--all-packages", "--wheel", "--out-dir", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=200)
    return folder
