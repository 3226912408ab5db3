"""What a request costs, in calls of Python and C functions: exact, where a time would depend on the machine."""

import sys

import pytest

from proxy_plugin_devkit.bench.calls import count_calls
from proxy_plugin_devkit.bench.systems import proxy_core, relay, upstream

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]


def test_a_request_makes_no_more_calls_than_in_a_bare_relay():
    """The relay stands on the same server and client libraries, and has httpx's own layers where the proxy has its
    features. A cost that every request pays shows here first: find it with ``proxy-core bench --only calls``."""
    with upstream() as port:
        bare, ours = count_calls(relay(), port), count_calls(proxy_core(), port)

    assert ours.per_request <= 1.0 * bare.per_request
    assert ours.per_chunk <= 1.3 * bare.per_chunk
