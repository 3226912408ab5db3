"""Example for proxy-core: a wire format for clients.

It is OpenAI's chat format at a path of its own. Replace it function by function: ``check`` and ``decode`` read a
request, ``encoder`` writes a response, ``encode_error`` and ``stream_error`` its errors.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from proxy_core import Dialect, PluginContext, PluginInfo, hookimpl
from proxy_core.dialects import openai_chat

PLUGIN = PluginInfo(name="example", api=1)

DIALECT = replace(openai_chat.DIALECT, name="example", paths=["/v1/example/chat"], operations=[])


@hookimpl
def proxy_dialects(ctx: PluginContext) -> Iterable[Dialect]:
    return [DIALECT]
