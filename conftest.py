"""The testing kit's fixtures for all tests, their examples, and how many processes run them."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["proxy_core.testing.fixtures"]

# Property tests take the same examples every time, and as long as it takes on a busy machine. With the profile "many"
# they look for new ones: tests/architecture/test_quality.py.
settings.register_profile("same", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("many", settings.get_profile("same"), derandomize=False, max_examples=500)
settings.load_profile("same")

# No test talks to anybody who has a certificate of a public authority; to read those takes every client 35 ms.
_NONE, _KEPT_AS = str(Path(__file__).parent / "tests"), "TESTS_WITHOUT_"
if os.environ.get("SSL_CERT_DIR") != _NONE:  # else this is one of several processes, and the first has done it
    for _name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        if _name in os.environ:
            os.environ[_KEPT_AS + _name] = os.environ.pop(_name)
    os.environ["SSL_CERT_DIR"] = _NONE


@pytest.fixture(scope="session")
def outward() -> dict[str, str]:
    """The environment of programs that do talk to others: uv to its registry."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SSL_CERT_", _KEPT_AS))}
    stashed = {name: value for name, value in os.environ.items() if name.startswith(_KEPT_AS)}
    return kept | {name.removeprefix(_KEPT_AS): value for name, value in stashed.items()}


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Several for the whole; one where files are named, which would only wait for the others' start."""
    return 0 if config.args_source is config.ArgsSource.ARGS else None
