"""The core serves by itself, with every single plugin, and with every pair of them."""

from importlib.metadata import entry_points
from itertools import combinations

import pytest

from proxy_core.testing import plugin_with

NAMES = sorted(entry.name for entry in entry_points(group="proxy_core.plugins"))
PAIRS = [pytest.param(pair, marks=pytest.mark.slow) for pair in combinations(NAMES, 2)]


@pytest.mark.parametrize(
    "chosen", [(), *((name,) for name in NAMES), *PAIRS], ids=lambda chosen: "+".join(chosen) or "the core alone"
)
async def test_a_set_of_plugins_serves(make_proxy, parrot, chosen):
    """With an author's provider, so that there is something to serve."""
    modules = [plugin_with(proxy_providers=[parrot()])]

    proxy = await make_proxy({"plugins": {"allowed": list(chosen), "required": list(chosen)}}, modules=modules)
    plain = await proxy.chat("parrot/x", "hi")
    stream = await proxy.chat("parrot/x", "hi", stream=True)
    models = await proxy.get("/models")

    assert (plain.text, stream.text, stream.done) == ("hello", "hello", True)
    assert models.status == 200
