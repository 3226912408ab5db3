"""Example for proxy-core: a state store, for ``state.url = "example://..."``.

It keeps everything in this process, as ``memory:`` does. Replace it method by method; the tests say what each promises.
"""

from collections.abc import Iterable

from proxy_core import MemoryState, PluginContext, PluginInfo, StateBackend, StateStore, hookimpl

PLUGIN = PluginInfo(name="example", api=1)


@hookimpl
def proxy_state_stores(ctx: PluginContext) -> Iterable[StateStore]:
    return [example()]


def example() -> StateStore:
    opened: dict[str, ExampleState] = {}

    async def open_it(url: str) -> StateBackend:
        return opened.setdefault(url, ExampleState())

    return StateStore(scheme="example", open=open_it)


class ExampleState(MemoryState):
    """What one URL names."""
