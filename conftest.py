"""The examples of all tests, how many processes run them, and what makes these quick."""

import gc
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

# Where bytecode is not kept, each of the many programs that the tests start would compile everything anew, for seconds.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# What is imported and collected stays until the end. Looking through it for garbage, again and again, takes a sixth of
# the run's CPU time.
gc.disable()
#: Where the folders of quick tests are, if there is enough of it: every proxy waits for its files to be on a disk.
_MEMORY, _MEMORY_BYTES = Path("/dev/shm"), 2**31  # noqa: S108 - pytest makes folders of its own in it

# Property tests run the same examples every time, without a time limit, because the machine may be busy. The profile
# "many" runs more of them. "random" generates new ones: developers start it by hand, because it can fail although the
# code has not changed.
settings.register_profile("same", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("many", settings.get_profile("same"), max_examples=500)
settings.register_profile("random", settings.get_profile("many"), derandomize=False)
settings.load_profile("same")


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two for each core and one more for all quick tests, which wait for half of their time: one for each core and one
    more leave a quarter of the machine unused. None for named files, which would only wait for the others' start, and
    for slow tests, which load the machine themselves and measure what it then does.
    """
    whole = config.args_source is not config.ArgsSource.ARGS and config.option.markexpr == "not slow"
    return 2 * (os.cpu_count() or 1) + 1 if whole else 0


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--hypothesis-profile") != "random":
        _take_no_example_from_our_code()
    if config.option.markexpr == "not slow" and "TMPDIR" not in os.environ and _in_memory():
        os.environ["TMPDIR"] = str(_MEMORY)
        tempfile.tempdir = None  # is asked for again


def _take_no_example_from_our_code() -> None:
    """Hypothesis tries the constants of the modules that are loaded by then, which depends on the tests run before."""
    none = providers.Constants()
    pytest.MonkeyPatch().setattr(providers, "_get_local_constants", lambda: none)


def _in_memory() -> bool:
    if not os.access(_MEMORY, os.W_OK):
        return False
    runs_programs = not os.statvfs(_MEMORY).f_flag & os.ST_NOEXEC
    return runs_programs and shutil.disk_usage(_MEMORY).free > _MEMORY_BYTES


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    gc.freeze()
    gc.set_threshold(10_000, 20, 10)
    gc.enable()
