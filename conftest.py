"""The testing kit's fixtures for all tests, and how many processes run them."""

import pytest

pytest_plugins = ["proxy_core.testing.fixtures"]


@pytest.hookimpl(tryfirst=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Several for the whole; one where files are named, which would only wait for the others' start."""
    return 0 if config.args_source is config.ArgsSource.ARGS else None
