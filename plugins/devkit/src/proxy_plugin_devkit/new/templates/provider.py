"""Example for proxy-core: an OpenAI-compatible provider."""

from collections.abc import Iterable

from proxy_core import (
    Credential,
    PluginContext,
    PluginInfo,
    Provider,
    ProviderCall,
    UpstreamRequest,
    hookimpl,
    json_bytes,
)

PLUGIN = PluginInfo(name="example", api=1, providers=["example"])
#: The vendor's address; ``[providers.example] base_url`` overrides it.
BASE_URL = "https://api.vendor.invalid/v1"


@hookimpl
def proxy_providers(ctx: PluginContext) -> Iterable[Provider]:
    return [example(ctx.base_url() or BASE_URL)]


def example(base_url: str) -> Provider:
    def encode(call: ProviderCall, credential: Credential) -> UpstreamRequest:
        body = {**call.body, "stream_options": {"include_usage": True}} if call.stream else call.body
        headers = [
            ("content-type", "application/json"),
            ("authorization", f"Bearer {credential.secret.get_secret_value()}"),
        ]
        return UpstreamRequest(url=f"{base_url}/chat/completions", headers=headers, content=json_bytes(body))

    return Provider(name="example", dialects=["openai_chat"], encode=encode)
