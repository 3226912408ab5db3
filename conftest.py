"""The testing kit's fixtures for all tests, whom they trust, and how many processes run them."""

import os
from pathlib import Path

import pytest

pytest_plugins = ["proxy_core.testing.fixtures"]

# No test talks to anybody who has a certificate of a public authority; to read those takes every client 35 ms.
os.environ.pop("SSL_CERT_FILE", None)
os.environ["SSL_CERT_DIR"] = str(Path(__file__).parent / "tests")


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Several for the whole; one where files are named, which would only wait for the others' start."""
    return 0 if config.args_source is config.ArgsSource.ARGS else None
