"""Settings: every table of ``proxy-core.toml``, typed and frozen, with its defaults.

Unknown keys are errors. ``loading.py`` reads these values from files and the environment.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, SecretStr, field_validator

from proxy_core.jsons import loads
from proxy_core.settings.base import (
    ApiKey,
    BaseUrl,
    Described,
    Key,
    Keys,
    ModelOptions,
    NetworkSettings,
    Origins,
    StrList,
    Table,
    listed,
)
from proxy_core.settings.plugins_table import PluginsTable
from proxy_core.settings.rotation import KeySettings, RotationSettings

MiB = 1024 * 1024


def _key_entries(value: object) -> object:
    """A bare string is a key without a label, tier or priority."""
    value = listed(value)
    if isinstance(value, list | tuple):
        return [{"key": entry} if isinstance(entry, str) else entry for entry in value]
    return value


KeyList = Annotated[list[KeySettings], BeforeValidator(_key_entries)]


class ServerSettings(Table):
    """``[server]``: where the proxy listens and what it accepts."""

    host: str = Field(
        "127.0.0.1", description="Address to listen on. Any address beyond loopback requires a configured client key."
    )
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 lets the operating system choose.")
    workers: int = Field(1, ge=1, le=64, description="Number of worker processes that share the port.")
    http_server: str = Field(
        "hypercorn", description="The HTTP server that runs the proxy; ``uvicorn`` and ``granian`` are extras."
    )
    keep_alive_s: float = Field(
        75, gt=0, description="How long a connection may wait for the complete head of its first or next request."
    )
    max_body_bytes: int = Field(64 * MiB, ge=1024, description="Largest request body accepted; a larger one gets 413.")
    shutdown_grace_s: float = Field(
        30, ge=0, description="How long a stopping server waits for running requests to finish."
    )
    response_headers: bool = Field(
        True, description="Report provider, model, attempts and credential in ``X-Proxy-...`` response headers."
    )
    cors_origins: Origins = Field(
        default_factory=list,
        description="Web pages that may call the proxy from a browser, by origin: ``https://app.example``, "
        "``http://localhost:3000``. They still need a client key; empty: none may.",
    )
    tls_certificate: Path | None = Field(
        None, description="PEM certificate chain. Together with ``tls_key`` it turns TLS on."
    )
    tls_key: Path | None = Field(None, description="PEM private key for ``tls_certificate``.")
    http2: bool = Field(False, description="Also offer HTTP/2 (and h2c): what a client does not read fills the memory.")
    hypercorn: dict[str, Any] = Field(
        default_factory=dict, description="Further attributes of Hypercorn's ``Config``, by their original names."
    )

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False  # a name may resolve to any address


class ClientSettings(Table):
    """``[clients.<name>]``: who may use the proxy."""

    key: ApiKey = Field(description="The key that this client sends.")
    models: StrList = Field(
        default_factory=list, description="Models that the client may use, as globs of public names; empty: all."
    )
    requests_per_minute: int | None = Field(None, ge=1, description="Requests per minute; beyond this, 429.")
    tokens_per_minute: int | None = Field(
        None, ge=1, description="Prompt and completion tokens per minute; beyond this, 429."
    )
    cost_per_day: float | None = Field(
        None,
        gt=0,
        description="US dollars per UTC day, counting models with a known price; beyond this, 429.",
    )


class AdminSettings(Table):
    """``[admin]``: access to the admin endpoints, which inspect the proxy and clear cooldowns."""

    key: ApiKey | None = Field(
        None,
        description="Key for ``/admin/...``; unset: a generated key, kept in ``admin.key`` in the data folder.",
    )


class ProviderSettings(NetworkSettings):
    """``[providers.<name>]``: the settings of every provider, whichever plugin implements it."""

    preset: str | None = Field(
        None, description="A vendor that a plugin knows by name; supplies the base URL and the vendor's quirks."
    )
    base_url: BaseUrl | None = Field(None, description="Upstream URL up to and including the API version.")
    api_keys: KeyList = Field(
        default_factory=list,
        description="API keys in order of preference, as strings or as tables ``{ key, label, tier, priority }``.",
    )
    headers: dict[str, Key] = Field(default_factory=dict, description="Headers added to every upstream request.")
    query: dict[str, Key] = Field(
        default_factory=dict, description="Query parameters added to every upstream request, such as ``api-version``."
    )
    unix_socket: Path | None = Field(
        None, description="Unix socket to connect to; the host in ``base_url`` is then only a name."
    )
    models: dict[str, ModelOptions] = Field(
        default_factory=dict, description="Models by public name; a list of names is enough."
    )
    exclude_models: StrList = Field(
        default_factory=list, description="Globs of models that are neither listed nor served."
    )
    include_models: StrList = Field(
        default_factory=list, description="Globs of models to keep even if ``exclude_models`` matches them."
    )
    discover: bool = Field(True, description="Fetch the model list from the upstream.")
    dialects: StrList = Field(
        default_factory=list,
        description="Wire formats that the upstream has, best first, such as ``openai_chat``; unset: the vendor's.",
    )
    stream_usage: bool | None = Field(
        None, description="Request usage figures in streams; unset: the default for the vendor."
    )
    rotation: RotationSettings = Field(
        default_factory=RotationSettings, description="How requests are spread over the credentials."
    )

    @field_validator("models", mode="before")
    @classmethod
    def _models(cls, value: object) -> object:
        if isinstance(value, str):
            value = loads(value) if value.lstrip().startswith(("[", "{")) else listed(value)
        if isinstance(value, list):
            return {str(name): {} for name in value}
        return value


class TimeoutSettings(Table):
    """``[timeouts]``: time limits of one attempt, and of a whole request."""

    connect_s: float = Field(
        10, gt=0, description="Longest time to open a connection. Environment: ``TIMEOUT_CONNECT``."
    )
    write_s: float = Field(
        30, gt=0, description="Longest pause while sending a large request body. Environment: ``TIMEOUT_WRITE``."
    )
    pool_s: float = Field(
        60,
        gt=0,
        description="Longest wait for one of the ``upstream.max_connections``. Environment: ``TIMEOUT_POOL``.",
    )
    first_event_s: float = Field(
        600,
        gt=0,
        description="Longest wait for the first event, or for a whole response that is not streamed. "
        "Environment: ``TIMEOUT_READ_NON_STREAMING``.",
    )
    idle_s: float = Field(
        300, gt=0, description="Longest pause between two events. Environment: ``TIMEOUT_READ_STREAMING``."
    )
    total_s: float | None = Field(
        None, gt=0, description="Longest time for a request with all its attempts and its response; unset: no limit."
    )


class StreamSettings(Table):
    """``[streams]``: event streams."""

    heartbeat_s: float = Field(15, gt=0, description="Pause in a stream after which a keep-alive comment is sent.")
    max_event_bytes: int = Field(16 * MiB, ge=1024, description="Largest single event accepted from an upstream.")


class UpstreamSettings(NetworkSettings):
    """``[upstream]``: connections to providers."""

    no_proxy: StrList = Field(
        default_factory=list,
        description="Hosts that are reached without the proxy: names with everything below them, addresses, networks "
        "(``10.0.0.0/8``), or ``*``.",
    )
    max_connections: int = Field(1000, ge=1, description="Most connections open at once, for all providers together.")
    max_response_bytes: int = Field(
        256 * MiB, ge=1024, description="Largest response, if not streamed, accepted from an upstream."
    )
    fetch_links: Literal["nowhere", "public", "anywhere"] = Field(
        "public",
        description="From which addresses the proxy fetches documents that clients link to, "
        "for providers that cannot open links.",
    )


class RoutingSettings(Table):
    """``[routing]``: choosing credentials and deployments."""

    selector: str = Field("balanced", description="The selector that chooses among usable credentials.")
    attempts_per_credential: int = Field(
        2, ge=1, le=10, description="Most attempts with one credential when a retry may help."
    )
    max_attempts: int = Field(
        20, ge=1, le=1000, description="Most attempts for one request, over all deployments together."
    )
    max_wait_s: float = Field(
        30,
        ge=0,
        description="How long a request may wait for a credential, back off and start attempts; one in flight "
        "is not interrupted, and an untouched deployment still gets one. Environment: ``GLOBAL_TIMEOUT``.",
    )
    retry_delay_s: float = Field(
        0.25,
        ge=0,
        description="Delay before the first retry with the same credential; it doubles with each retry. "
        "Environment: ``TRANSIENT_RETRY_DELAY``.",
    )
    retry_jitter_s: float = Field(
        0.25,
        ge=0,
        description="Upper bound of a random addition to that delay. Environment: ``TRANSIENT_RETRY_JITTER``.",
    )
    max_cooldown_s: float = Field(86_400, gt=0, description="Longest cooldown, even if an upstream asks for more.")
    half_open_after_s: float = Field(
        300,
        gt=0,
        description="During a cooldown longer than this, single requests probe whether it can end; the first one "
        "after this time.",
    )
    circuit_breaker_failures: int = Field(
        5, ge=1, description="Consecutive failures of a provider that open its circuit breaker."
    )
    hedge_after_s: float | None = Field(
        None,
        gt=0,
        description="Time without a first event after which a second credential is tried in parallel; unset: never.",
    )
    hedge_max_ratio: float = Field(
        0.1, ge=0, le=1, description="Largest share of requests for which a second attempt runs in parallel."
    )
    session_ttl_s: float = Field(3600, gt=0, description="``sticky``: how long an idle session keeps its credential.")
    explain_history: int = Field(
        1000, ge=0, description="How many recent requests ``proxy-core explain`` can show; 0: none."
    )
    models_ttl_s: float = Field(3600, gt=0, description="How long a provider's model list is cached.")


class EmbeddingsSettings(Table):
    """``[embeddings]``: sending several small requests as one batch."""

    batch_window_s: float = Field(
        0,
        ge=0,
        le=1,
        description="How long a request waits for similar requests to be sent with it as one batch; 0: no batches.",
    )
    batch_inputs: int = Field(256, ge=2, description="Most inputs in one batch.")


class SanitizerSettings(Table):
    """``[sanitizers]``: the chain of sanitizers."""

    order: StrList = Field(
        default_factory=list, description="Names of sanitizers, in order; all others follow by rank."
    )


class LogSettings(Table):
    """``[log]``: the program log."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level to log, on the console and in ``proxy.log``."
    )
    format: Literal["human", "json"] = Field("human", description="Log lines for people, or one JSON object per line.")
    folder: Path | None = Field(None, description="If set, the log is also written to ``proxy.log`` in this folder.")
    max_file_bytes: int = Field(10 * MiB, ge=1024, description="Size at which a log file is rotated.")
    max_files: int = Field(5, ge=2, description="How many files of each log to keep, including the current one.")
    debug: bool = Field(False, description="Write debug lines to ``proxy_debug.log``.")


class RecordSettings(Table):
    """``[records]``: one JSON line per request for log sinks, off by default."""

    enabled: bool = Field(False, description="Write request records; same as ``serve --enable-request-logging``.")
    max_body_bytes: int = Field(
        1 * MiB, ge=0, description="How much of a request body, and of a response body, to keep."
    )
    chunks: bool = Field(
        False,
        description="Keep each chunk of a streamed response, too; left out where a redactor removes something from the "
        "response.",
    )


class StateSettings(Table):
    """``[state]``: the store of everything that survives a restart or that several processes share."""

    url: SecretStr | None = Field(
        None,
        description="URL of the store: ``sqlite:///path``, ``memory:`` or a plugin's scheme; unset: ``state.db`` in "
        "the data folder.",
    )
    sync_interval_s: float = Field(0.1, gt=0, le=10, description="How often changes are exchanged with the store.")
    usage_retention_days: int = Field(400, ge=1, description="How many days of usage to keep.")
    secret: Key | None = Field(
        None,
        description="Secret for credential fingerprints; must be the same on all machines that share a store. "
        "Unset: a generated one.",
    )


class CredentialsSettings(Table):
    """``[credentials]``: logins and token refresh."""

    refresh_interval_s: float = Field(
        600,
        ge=1,
        le=86_400,
        description="How often to scan for tokens due for a refresh. One close to expiry does not wait for the scan.",
    )
    vault_keys: Keys = Field(
        default_factory=list,
        description="Keys that encrypt stored credentials: the first encrypts, all decrypt. They belong in a file "
        "(``vault_keys_file``). Needs ``proxy-core[vault]``; empty: they are not encrypted.",
    )
    vault_keyring: bool = Field(False, description="Take the first of these keys from the system's keyring.")


class DeploymentRoute(Described):
    """``[models.<name>]`` in its long form."""

    deployments: StrList = Field(min_length=1, description="Deployments as ``provider/model``, in order of preference.")


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
        default_factory=dict, description="Public models, each with its deployments ``provider/model`` in order."
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
    """Base class of a plugin's settings: ``[plugins.<name>]``, ``PROXY_PLUGINS__<NAME>__<KEY>``.

    ``variables`` maps a key to further environment variables, such as those that a vendor's own tools
    read; the first one that is set wins. They override the file; ``PROXY_PLUGINS__...`` overrides them.
    """

    variables: ClassVar[Mapping[str, Sequence[str]]] = {}


ProviderSettings.model_rebuild()
