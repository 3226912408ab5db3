"""Settings: every table of ``proxy-core.toml``, typed, frozen, with its defaults.

Unknown keys are errors. How files and environment become these values is in ``loading.py``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    HttpUrl,
    SecretStr,
    field_validator,
)

MiB = 1024 * 1024


def _listed(value: object) -> object:
    """Lists may be written as JSON or with commas where only a string fits (the environment)."""
    if isinstance(value, str):
        text = value.strip()
        return json.loads(text) if text.startswith("[") else [p.strip() for p in text.split(",") if p.strip()]
    return value


def _key(value: SecretStr) -> SecretStr:
    """A key as it goes into a header: no line end from a file, nothing a header cannot carry."""
    text = value.get_secret_value().strip()
    if not text or not text.isascii() or not text.isprintable():
        raise ValueError("a key is one line of printable ASCII characters")
    return SecretStr(text)


def _plain_url(value: HttpUrl) -> HttpUrl:
    if value.username or value.password or value.query or value.fragment:
        raise ValueError("an address without credentials, query or fragment is wanted; keys have their own setting")
    return value


StrList = Annotated[list[str], BeforeValidator(_listed)]
Key = Annotated[SecretStr, AfterValidator(_key)]
KeyList = Annotated[list[Key], BeforeValidator(_listed)]
BaseUrl = Annotated[HttpUrl, AfterValidator(_plain_url)]


def _override(value: object) -> object:
    """``OVERRIDE_TEMPERATURE_ZERO`` says false, remove, or set in several spellings."""
    word = str(value).strip().lower()
    return {"false": "keep", "0": "keep", "no": "keep", "true": "set", "1": "set", "yes": "set"}.get(word, word)


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class ServerSettings(_Table):
    """``[server]``: where the proxy listens and what it accepts."""

    host: str = Field(
        "127.0.0.1", description="Address to listen on. Beyond loopback a configured client key is required."
    )
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 lets the system choose.")
    workers: int = Field(1, ge=1, le=64, description="Worker processes sharing the port.")
    max_body_bytes: int = Field(64 * MiB, ge=1024, description="Largest request body accepted; above it 413.")
    drain_s: float = Field(30, ge=0, description="How long a stopping server lets running requests finish.")
    tls_certificate: Path | None = Field(
        None, description="PEM certificate chain; with ``tls_key`` the server speaks TLS."
    )
    tls_key: Path | None = Field(None, description="PEM private key of ``tls_certificate``.")
    hypercorn: dict[str, Any] = Field(
        default_factory=dict, description="Further settings of Hypercorn's ``Config``, by their own names."
    )


class ClientSettings(_Table):
    """``[clients.<name>]``: who may use the proxy."""

    key: Key = Field(description="The key this client sends.")


class ProviderSettings(_Table):
    """``[providers.<name>]``: what every provider has, whichever plugin brings it."""

    preset: str | None = Field(None, description="A vendor a plugin knows by name; gives base URL and deviations.")
    base_url: BaseUrl | None = Field(None, description="Upstream address up to and including the version.")
    api_keys: KeyList = Field(default_factory=list, description="Keys, in order of preference.")
    headers: dict[str, Key] = Field(default_factory=dict, description="Headers added to every request upstream.")
    models: dict[str, ModelOptions] = Field(
        default_factory=dict, description="Models by public name; a list of names is enough."
    )
    ignore: StrList = Field(default_factory=list, description="Globs of models neither listed nor served.")
    whitelist: StrList = Field(default_factory=list, description="Globs of models kept although ``ignore`` matches.")
    discover: bool = Field(True, description="Ask the upstream for its model list.")
    stream_usage: bool | None = Field(None, description="Ask for usage in streams; unset: as the vendor's row says.")

    @field_validator("models", mode="before")
    @classmethod
    def _models(cls, value: object) -> object:
        if isinstance(value, str):
            value = json.loads(value) if value.lstrip().startswith(("[", "{")) else _listed(value)
        if isinstance(value, list):
            return {str(name): {} for name in value}
        return value


class ModelOptions(_Table):
    """One entry of ``[providers.<name>.models]``."""

    id: str | None = Field(None, description="The upstream's id, where it differs from the public name.")
    options: dict[str, Any] = Field(
        default_factory=dict, description="Request fields filled in when the client left them out."
    )


class TimeoutSettings(_Table):
    """``[timeouts]``: what one attempt may take."""

    connect_s: float = Field(30, gt=0, description="Opening a connection. Environment: ``TIMEOUT_CONNECT``.")
    write_s: float = Field(30, gt=0, description="Silence while sending a large body. Environment: ``TIMEOUT_WRITE``.")
    pool_s: float = Field(
        60, gt=0, description="Waiting for one of ``upstream.max_connections``. Environment: ``TIMEOUT_POOL``."
    )
    first_event_s: float = Field(
        600, gt=0, description="The first event, or the whole plain reply. Environment: ``TIMEOUT_READ_NON_STREAMING``."
    )
    idle_s: float = Field(300, gt=0, description="Silence between events. Environment: ``TIMEOUT_READ_STREAMING``.")


class StreamSettings(_Table):
    """``[streams]``: event streams."""

    heartbeat_s: float = Field(15, gt=0, description="Silence after which a keep-alive comment is sent.")
    max_event_bytes: int = Field(16 * MiB, ge=1024, description="Largest single event taken from an upstream.")


class UpstreamSettings(_Table):
    """``[upstream]``: connections to providers."""

    max_connections: int = Field(1000, ge=1, description="Connections open at once, all providers together.")
    max_reply_bytes: int = Field(256 * MiB, ge=1024, description="Largest plain reply taken from an upstream.")
    fetch_links: Literal["nowhere", "public", "anywhere"] = Field(
        "public", description="Where documents that clients link to may be, for providers that cannot open links."
    )


class RoutingSettings(_Table):
    """``[routing]``: choosing credentials and deployments."""

    selector: str = Field("balanced", description="Which selector picks among usable credentials.")
    attempts_per_credential: int = Field(2, ge=1, le=10, description="Tries with one credential when a retry may help.")
    max_attempts: int = Field(20, ge=1, le=1000, description="Tries for one request, all deployments together.")
    budget_s: float = Field(30, gt=0, description="After this long no further attempt starts; one in flight goes on.")
    models_ttl_s: float = Field(3600, gt=0, description="How long a provider's model list is believed.")


class SanitizerSettings(_Table):
    """``[sanitizers]``: the chain of sanitizers."""

    order: StrList = Field(
        default_factory=list, description="Sanitizers by name, in order; unnamed ones follow by rank."
    )
    temperature_zero: Annotated[Literal["keep", "remove", "set"], BeforeValidator(_override)] = Field(
        "keep",
        description="What becomes of temperature 0; ``set`` sends 1.0. Environment: ``OVERRIDE_TEMPERATURE_ZERO``.",
    )


class LogSettings(_Table):
    """``[log]``: the program log."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="What is logged, on the console and in ``proxy.log``."
    )
    format: Literal["human", "json"] = Field("human", description="Lines for people, or one JSON object each.")
    folder: Path | None = Field(None, description="If set, ``proxy.log`` is written there too, and rotated.")
    max_file_bytes: int = Field(10 * MiB, ge=1024, description="Size at which a log file is rotated.")
    max_files: int = Field(5, ge=2, description="Files kept of each log, the current one included.")
    debug: bool = Field(
        False, description="Write ``proxy_debug.log`` with debug lines. Environment: ``PROXY_DEBUG_LOG``."
    )


class RecordSettings(_Table):
    """``[records]``: one JSON line per request, for who asks for it."""

    enabled: bool = Field(False, description="Keep request records; ``serve --enable-request-logging`` does the same.")
    folder: Path | None = Field(None, description="Where the files are; unset: ``records`` in the data folder.")
    max_body_bytes: int = Field(1 * MiB, ge=0, description="Most that is kept of a request's body, and of a reply's.")
    max_file_bytes: int = Field(64 * MiB, ge=1024, description="Size at which a new file begins.")
    max_files: int = Field(10, ge=1, description="Files kept; older ones are removed.")
    max_age_days: float = Field(7, gt=0, description="Files untouched for this long are removed.")


class PluginsTable(BaseModel):
    """``[plugins]``: which plugins load. Each plugin's own settings are in ``[plugins.<name>]``."""

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    disabled: StrList = Field(default_factory=list, description="Plugins that are not even imported.")
    allowed: StrList | None = Field(None, description="If set, only these plugins are imported.")
    required: StrList = Field(default_factory=list, description="Startup stops unless all of these are active.")


class DeploymentRoute(_Table):
    """``[models.<name>]`` in its long form."""

    deployments: StrList = Field(min_length=1, description="``provider/model``, best first.")


def _route(value: object) -> object:
    if isinstance(value, str | list):
        return {"deployments": value}
    return value


class ProxySettings(_Table):
    """Everything in ``proxy-core.toml``."""

    server: ServerSettings = Field(default_factory=ServerSettings)
    clients: dict[str, ClientSettings] = Field(default_factory=dict)
    providers: dict[str, ProviderSettings] = Field(default_factory=dict)
    models: dict[str, Annotated[DeploymentRoute, BeforeValidator(_route)]] = Field(
        default_factory=dict, description="Public model to an ordered list of ``provider/model``."
    )
    plugins: PluginsTable = Field(default_factory=PluginsTable)
    timeouts: TimeoutSettings = Field(default_factory=TimeoutSettings)
    streams: StreamSettings = Field(default_factory=StreamSettings)
    upstream: UpstreamSettings = Field(default_factory=UpstreamSettings)
    routing: RoutingSettings = Field(default_factory=RoutingSettings)
    sanitizers: SanitizerSettings = Field(default_factory=SanitizerSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    records: RecordSettings = Field(default_factory=RecordSettings)


class PluginSettings(_Table):
    """Base of a plugin's settings: ``[plugins.<name>]``, ``PROXY_PLUGINS__<NAME>__<KEY>``."""


ProviderSettings.model_rebuild()
