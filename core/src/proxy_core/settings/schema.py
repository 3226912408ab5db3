"""Settings: every table of ``proxy-core.toml``, typed, frozen, with its defaults.

Unknown keys are errors. How files and environment become these values is in ``loading.py``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, field_validator

from proxy_core.settings.base import BaseUrl, Described, Key, StrList, Table, listed
from proxy_core.settings.rotation import KeySettings, RotationSettings

MiB = 1024 * 1024


def _key_entries(value: object) -> object:
    """A bare string is a key without anything to say about it."""
    value = listed(value)
    if isinstance(value, list | tuple):
        return [{"key": entry} if isinstance(entry, str) else entry for entry in value]
    return value


KeyList = Annotated[list[KeySettings], BeforeValidator(_key_entries)]


def _override(value: object) -> object:
    """``OVERRIDE_TEMPERATURE_ZERO`` says false, remove, or set in several spellings."""
    word = str(value).strip().lower()
    return {"false": "keep", "0": "keep", "no": "keep", "true": "set", "1": "set", "yes": "set"}.get(word, word)


class ServerSettings(Table):
    """``[server]``: where the proxy listens and what it accepts."""

    host: str = Field(
        "127.0.0.1", description="Address to listen on. Beyond loopback a configured client key is required."
    )
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 lets the system choose.")
    workers: int = Field(1, ge=1, le=64, description="Worker processes sharing the port.")
    max_body_bytes: int = Field(64 * MiB, ge=1024, description="Largest request body accepted; above it 413.")
    shutdown_grace_s: float = Field(30, ge=0, description="How long a stopping server lets running requests finish.")
    response_headers: bool = Field(
        True, description="Name provider, model, attempts and credential in ``X-Proxy-...`` headers of replies."
    )
    tls_certificate: Path | None = Field(
        None, description="PEM certificate chain; with ``tls_key`` the server speaks TLS."
    )
    tls_key: Path | None = Field(None, description="PEM private key of ``tls_certificate``.")
    hypercorn: dict[str, Any] = Field(
        default_factory=dict, description="Further settings of Hypercorn's ``Config``, by their own names."
    )


class ClientSettings(Table):
    """``[clients.<name>]``: who may use the proxy."""

    key: Key = Field(description="The key this client sends.")
    models: StrList = Field(
        default_factory=list, description="Models it may use, as globs of public names; empty: all."
    )
    requests_per_minute: int | None = Field(None, ge=1, description="Above this it gets 429.")
    tokens_per_minute: int | None = Field(None, ge=1, description="Prompt and completion together; above it 429.")
    cost_per_day: float | None = Field(
        None, gt=0, description="US dollars in a UTC day, of models whose price is known; above it 429."
    )


class AdminSettings(Table):
    """``[admin]``: who may look inside and change what rests."""

    key: Key | None = Field(
        None, description="Key of ``/admin/...``; unset: one is made and kept in ``admin.key`` in the data folder."
    )


class ProviderSettings(Table):
    """``[providers.<name>]``: what every provider has, whichever plugin brings it."""

    preset: str | None = Field(None, description="A vendor a plugin knows by name; gives base URL and deviations.")
    base_url: BaseUrl | None = Field(None, description="Upstream address up to and including the version.")
    api_keys: KeyList = Field(
        default_factory=list, description="Keys, in order of preference; ``{ key, tier, priority }`` says more of one."
    )
    headers: dict[str, Key] = Field(default_factory=dict, description="Headers added to every request upstream.")
    models: dict[str, ModelOptions] = Field(
        default_factory=dict, description="Models by public name; a list of names is enough."
    )
    exclude_models: StrList = Field(default_factory=list, description="Globs of models neither listed nor served.")
    include_models: StrList = Field(
        default_factory=list, description="Globs of models kept although ``exclude_models`` matches."
    )
    discover: bool = Field(True, description="Ask the upstream for its model list.")
    stream_usage: bool | None = Field(None, description="Ask for usage in streams; unset: as the vendor's row says.")
    rotation: RotationSettings = Field(default_factory=RotationSettings, description="How its credentials are spent.")

    @field_validator("models", mode="before")
    @classmethod
    def _models(cls, value: object) -> object:
        if isinstance(value, str):
            value = json.loads(value) if value.lstrip().startswith(("[", "{")) else listed(value)
        if isinstance(value, list):
            return {str(name): {} for name in value}
        return value


class ModelOptions(Described):
    """One entry of ``[providers.<name>.models]``."""

    id: str | None = Field(None, description="The upstream's id, where it differs from the public name.")
    options: dict[str, Any] = Field(
        default_factory=dict, description="Request fields filled in when the client left them out."
    )
    input_price: float | None = Field(None, ge=0, description="US dollars per million prompt tokens.")
    cached_price: float | None = Field(
        None, ge=0, description="The same for prompt tokens read from a cache; unset: as ``input_price``."
    )
    cache_write_price: float | None = Field(
        None, ge=0, description="The same for prompt tokens written to a cache; unset: as ``input_price``."
    )
    output_price: float | None = Field(None, ge=0, description="US dollars per million completion tokens.")


class TimeoutSettings(Table):
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
    total_s: float | None = Field(
        None, gt=0, description="A whole request with all its attempts and its reply; unset: no limit."
    )


class StreamSettings(Table):
    """``[streams]``: event streams."""

    heartbeat_s: float = Field(15, gt=0, description="Silence after which a keep-alive comment is sent.")
    max_event_bytes: int = Field(16 * MiB, ge=1024, description="Largest single event taken from an upstream.")


class UpstreamSettings(Table):
    """``[upstream]``: connections to providers."""

    max_connections: int = Field(1000, ge=1, description="Connections open at once, all providers together.")
    max_response_bytes: int = Field(256 * MiB, ge=1024, description="Largest plain reply taken from an upstream.")
    fetch_links: Literal["nowhere", "public", "anywhere"] = Field(
        "public", description="Where documents that clients link to may be, for providers that cannot open links."
    )


class RoutingSettings(Table):
    """``[routing]``: choosing credentials and deployments."""

    selector: str = Field("balanced", description="Which selector picks among usable credentials.")
    attempts_per_credential: int = Field(2, ge=1, le=10, description="Tries with one credential when a retry may help.")
    max_attempts: int = Field(20, ge=1, le=1000, description="Tries for one request, all deployments together.")
    max_wait_s: float = Field(
        30,
        ge=0,
        description="How long to wait for a credential, back off and start attempts; one in flight goes on. "
        "Environment: ``GLOBAL_TIMEOUT``.",
    )
    retry_delay_s: float = Field(
        0.25,
        ge=0,
        description="Before the same credential is asked again; doubles. Environment: ``TRANSIENT_RETRY_DELAY``.",
    )
    retry_jitter_s: float = Field(
        0.25, ge=0, description="At most this much is added by chance. Environment: ``TRANSIENT_RETRY_JITTER``."
    )
    max_cooldown_s: float = Field(86_400, gt=0, description="No credential rests longer, whatever an upstream says.")
    half_open_after_s: float = Field(300, gt=0, description="A longer rest is tried with one request, again and again.")
    circuit_breaker_failures: int = Field(
        5, ge=1, description="Failures of a provider in a row after which it rests as a whole."
    )
    hedge_after_s: float | None = Field(
        None, gt=0, description="Without a first event for this long a second credential is asked too; unset: never."
    )
    hedge_max_ratio: float = Field(0.1, ge=0, le=1, description="Most requests, as a share, that may be asked twice.")
    session_ttl_s: float = Field(3600, gt=0, description="``sticky``: how long a session keeps its credential unused.")
    explain_history: int = Field(
        1000, ge=0, description="Requests of which ``proxy-core explain`` can tell; 0 for none."
    )
    models_ttl_s: float = Field(3600, gt=0, description="How long a provider's model list is believed.")


class EmbeddingsSettings(Table):
    """``[embeddings]``: several small requests as one."""

    batch_window_s: float = Field(
        0, ge=0, le=1, description="How long a request waits for others like it, to be sent as one; 0: not at all."
    )
    batch_inputs: int = Field(256, ge=2, description="Most inputs sent as one.")


class SanitizerSettings(Table):
    """``[sanitizers]``: the chain of sanitizers."""

    order: StrList = Field(
        default_factory=list, description="Sanitizers by name, in order; unnamed ones follow by rank."
    )
    temperature_zero: Annotated[Literal["keep", "remove", "set"], BeforeValidator(_override)] = Field(
        "keep",
        description="What becomes of temperature 0; ``set`` sends 1.0. Environment: ``OVERRIDE_TEMPERATURE_ZERO``.",
    )


class LogSettings(Table):
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


class RecordSettings(Table):
    """``[records]``: one JSON line per request, for who asks for it."""

    enabled: bool = Field(False, description="Keep request records; ``serve --enable-request-logging`` does the same.")
    folder: Path | None = Field(None, description="Where the files are; unset: ``records`` in the data folder.")
    max_body_bytes: int = Field(1 * MiB, ge=0, description="Most that is kept of a request's body, and of a reply's.")
    max_file_bytes: int = Field(64 * MiB, ge=1024, description="Size at which a new file begins.")
    max_files: int = Field(10, ge=1, description="Files kept; older ones are removed.")
    max_age_days: float = Field(7, gt=0, description="Files untouched for this long are removed.")


class StateSettings(Table):
    """``[state]``: what survives a restart, and what several processes share."""

    url: SecretStr | None = Field(
        None,
        description="``sqlite:///path``, ``memory:`` or a plugin's scheme; unset: ``state.db`` in the data folder.",
    )
    sync_interval_s: float = Field(0.1, gt=0, le=10, description="How often changes are exchanged with the store.")
    usage_retention_days: int = Field(400, ge=1, description="Days of usage kept.")
    secret: Key | None = Field(
        None, description="Key of fingerprints; the same on all machines that share a store. Unset: one is made."
    )


class CredentialsSettings(Table):
    """``[credentials]``: logins and their renewal."""

    refresh_interval_s: float = Field(
        600,
        ge=1,
        le=86_400,
        description="How often is looked for tokens to renew, besides when one ends. Environment: "
        "``OAUTH_REFRESH_INTERVAL``.",
    )


class PluginsTable(BaseModel):
    """``[plugins]``: which plugins load. Each plugin's own settings are in ``[plugins.<name>]``."""

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    disabled: StrList = Field(default_factory=list, description="Plugins that are not even imported.")
    allowed: StrList | None = Field(None, description="If set, only these plugins are imported.")
    required: StrList = Field(default_factory=list, description="Startup stops unless all of these are active.")


class DeploymentRoute(Described):
    """``[models.<name>]`` in its long form."""

    deployments: StrList = Field(min_length=1, description="``provider/model``, best first.")


def _route(value: object) -> object:
    if isinstance(value, str | list):
        return {"deployments": value}
    return value


class ProxySettings(Table):
    """Everything in ``proxy-core.toml``."""

    server: ServerSettings = Field(default_factory=ServerSettings)
    clients: dict[str, ClientSettings] = Field(default_factory=dict)
    admin: AdminSettings = Field(default_factory=AdminSettings)
    providers: dict[str, ProviderSettings] = Field(default_factory=dict)
    models: dict[str, Annotated[DeploymentRoute, BeforeValidator(_route)]] = Field(
        default_factory=dict, description="Public model to an ordered list of ``provider/model``."
    )
    plugins: PluginsTable = Field(default_factory=PluginsTable)
    timeouts: TimeoutSettings = Field(default_factory=TimeoutSettings)
    streams: StreamSettings = Field(default_factory=StreamSettings)
    upstream: UpstreamSettings = Field(default_factory=UpstreamSettings)
    routing: RoutingSettings = Field(default_factory=RoutingSettings)
    embeddings: EmbeddingsSettings = Field(default_factory=EmbeddingsSettings)
    sanitizers: SanitizerSettings = Field(default_factory=SanitizerSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    records: RecordSettings = Field(default_factory=RecordSettings)
    state: StateSettings = Field(default_factory=StateSettings)
    credentials: CredentialsSettings = Field(default_factory=CredentialsSettings)


class PluginSettings(Table):
    """Base of a plugin's settings: ``[plugins.<name>]``, ``PROXY_PLUGINS__<NAME>__<KEY>``.

    ``variables`` are further names in the environment, by key, the first that is set wins: those a
    vendor's own tools read. They win over the file; ``PROXY_PLUGINS__...`` wins over them.
    """

    variables: ClassVar[Mapping[str, Sequence[str]]] = {}


ProviderSettings.model_rebuild()
