"""The examples of all tests, and how many processes run them."""

import os
import sys

import pytest
from hypothesis import HealthCheck, settings

# Where bytecode is not kept, each of the many programs that the tests start would compile everything anew, for seconds.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Property tests take the same examples every time, and as long as it takes on a busy machine. With the profile "many"
# they look for new ones: tests/architecture/test_quality.py.
settings.register_profile("same", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("many", settings.get_profile("same"), derandomize=False, max_examples=500)
settings.load_profile("same")


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One more than cores for all quick tests, which wait for half of their time. None for named files, which would
    only wait for the others' start, and for slow tests, which load the machine themselves and measure what it then
    does.
    """
    whole = config.args_source is not config.ArgsSource.ARGS and config.option.markexpr == "not slow"
    return (os.cpu_count() or 1) + 1 if whole else 0
