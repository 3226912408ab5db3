"""A request on its way to a provider, and the decision about its failure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Literal

from msgspec import Struct, field
from msgspec.structs import replace
from pydantic import SecretStr

from proxy_core.errors import ProxyError
from proxy_core.interfaces.models import ModelInfo
from proxy_core.messages import (
    ChatRequest,
    Extra,
    JsonObject,
    repr_without,
)
from proxy_core.messages.stash import Stash
from proxy_core.settings.rotation import DEFAULT_PRIORITY

__all__ = [
    "Credential",
    "FailureDecision",
    "Lifecycle",
    "Limits",
    "ModelSpec",
    "ProviderCall",
    "ProxyRequest",
    "QuotaWindow",
]


class Limits(Struct, frozen=True, kw_only=True):
    """What a client is limited to: some models, or dollars a day."""

    models: bool = False
    cost: bool = False


#: Of most clients.
NO_LIMITS = Limits()


class ProxyRequest(Struct, frozen=True, kw_only=True):
    """One client request inside the proxy. ``body`` is the client's JSON and is never modified in place.

    ``session`` identifies the conversation, if a header of the client does; ``traceparent`` is the client's
    header of that name, if it is valid according to W3C Trace Context. ``hops``: through how many of these
    proxies it has come before. ``continues``: the kept response that this request continues; its body is complete
    without it. ``left_out`` are the fields that sanitizers removed.
    """

    __repr__ = repr_without("body", "stash")

    id: str
    client: str
    dialect: str
    model: str
    stream: bool
    body: JsonObject
    session: str | None = None
    traceparent: str | None = None
    limits: Limits = NO_LIMITS
    hops: int = 0
    continues: str | None = None
    left_out: Sequence[str] = ()
    stash: Stash = field(default_factory=Stash)

    def with_body(self, body: JsonObject) -> ProxyRequest:
        """The same request with another body, for sanitizers."""
        return replace(self, body=body)


class ModelSpec(Struct, frozen=True, kw_only=True):
    """A model that a provider offers, by the provider's own id.

    ``extra`` are further members of its entry in the provider's list; ``info`` is what they mean.
    """

    id: str
    created: int | None = None
    owned_by: str | None = None
    extra: Extra = field(default_factory=dict)
    info: ModelInfo | None = None


class Credential(Struct, frozen=True, kw_only=True):
    """One identity that a provider accepts. ``id`` is a fingerprint, ``label`` names its origin.

    ``secret`` is sent with requests: an API key, or an access token, which expires at ``expires_at`` (UTC) and
    can be refreshed with ``refresh_token``. ``identity`` is the account's own name (an address, a
    subject); two credentials with the same identity are duplicates. ``details`` belong to the plugin
    (a project, a base URL, a token's client); secrets among them are ``SecretStr``.
    ``tier`` is the subscription plan. Lower ``priority`` goes first.
    """

    id: str
    provider: str
    kind: str
    secret: SecretStr
    label: str
    tier: str | None = None
    priority: int = DEFAULT_PRIORITY
    refresh_token: SecretStr | None = None
    expires_at: datetime | None = None
    identity: str | None = None
    details: Mapping[str, str | SecretStr] = field(default_factory=dict)


class ProviderCall(Struct, frozen=True, kw_only=True):
    """One attempt, as a provider's ``encode`` sees it.

    ``dialect`` is the wire format of ``body``; ``body`` is the provider's own copy (of the top level),
    in which ``model`` and ``stream`` are already those of the attempt. A provider without dialects receives
    ``dialect=None`` and an empty body, and reads ``chat``. ``client`` is the client's name, for state that a
    provider must keep per client. ``options`` are the deployment's; they are already part of ``body``, but not
    of ``chat``.
    """

    __repr__ = repr_without("body", "chat", "options")

    dialect: str | None
    body: JsonObject
    chat: ChatRequest | None = None
    stream: bool = False
    client: str = ""
    options: Extra = field(default_factory=dict)


class Lifecycle(Struct, frozen=True, kw_only=True):
    """Whether a provider will remain available, and the risks of using it.

    ``until`` is the day on which an ``ended`` provider stopped or a ``limited`` one will stop: from then on nothing is
    routed to it.
    """

    status: Literal["active", "limited", "ended"] = "active"
    until: date | None = None
    note: str = ""
    link: str = ""

    @property
    def ends(self) -> bool:
        """Whether there is an end, in the past or to come."""
        return self.status == "ended" or (self.status == "limited" and self.until is not None)

    def ended_on(self, day: date) -> bool:
        return self.ends and (self.until is None or self.until <= day)

    def end_in_words(self) -> str:
        return "has ended" if self.until is None else f"ended on {self.until}"


class FailureDecision(Struct, frozen=True, kw_only=True):
    """What to do about a failure.

    ``fault`` says who must act. ``next``: ``retry`` with the same credential, ``rotate`` to the
    next, ``fail_over`` to the next deployment, or ``reject`` the request. ``cooldown`` says what enters
    cooldown: the whole ``credential``; this credential for every model that shares the ``quota`` of the request's
    model, or for that ``model`` alone; or the whole ``provider``; for ``cooldown_s`` seconds. If that is ``None``,
    ``back_off_s`` has the seconds by number of consecutive failures (the last value applies to all further ones);
    without it, the core's back-off applies. ``error`` is the client's error if the request ends here, and that of
    the requests which the cooldown turns away; its ``retry_after_s`` is the upstream's own time, or ``None``.
    ``refresh``: with ``cooldown="credential"``, a login's token was rejected and is refreshed instead; a 401 always
    implies this.
    ``disable_until_login``: waiting does not help; the credential is disabled until its owner has acted and logs in
    again, and ``error`` says why. ``suspect_details``: with ``cooldown="credential"``, the names of its details that
    may be wrong (a project); its refresher is called once without them, and then not again for some hours.
    ``answered``: although the fault is the provider's, it did answer; this does not count towards its circuit breaker.
    """

    fault: Literal["client", "credential", "model", "provider", "network"]
    next: Literal["retry", "rotate", "fail_over", "reject"]
    error: ProxyError
    cooldown: Literal["credential", "quota", "model", "provider"] | None = None
    cooldown_s: float | None = None
    back_off_s: Sequence[float] = ()
    refresh: bool = False
    disable_until_login: bool = False
    suspect_details: Sequence[str] = ()
    answered: bool = False


class QuotaWindow(Struct, frozen=True, kw_only=True):
    """What a provider reports about a quota window.

    ``limit`` and ``used`` are in ``unit``; ``None`` is unknown. ``resets_at`` is UTC.
    ``group`` names a quota group or a model; empty: the model of the request. ``window``: one of the windows in
    ``[[providers.<name>.rotation.windows]]``, which the plugin may define; empty: the main one.
    """

    unit: Literal["requests", "tokens"] = "requests"
    limit: float | None = None
    used: float | None = None
    resets_at: datetime | None = None
    group: str = ""
    window: str = ""
