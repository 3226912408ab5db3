"""A request on its way to a provider, and what a failure of it means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Literal

from pydantic import SecretStr

from proxy_core.errors import ProxyError
from proxy_core.messages import (
    ChatRequest,
    Extra,
    JsonObject,
)
from proxy_core.settings.rotation import DEFAULT_PRIORITY
from proxy_core.stash import Stash


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyRequest:
    """One client request on its way through. ``body`` is the client's JSON and is never changed in place.

    ``session`` is what a header of the client named as its conversation; ``traceparent`` its
    header of that name, if it is one by W3C's Trace Context.
    """

    id: str
    client: str
    dialect: str
    model: str
    stream: bool
    body: JsonObject = field(repr=False)
    session: str | None = None
    traceparent: str | None = None
    stash: Stash = field(default_factory=Stash, repr=False)

    def with_body(self, body: JsonObject) -> ProxyRequest:
        """The same request with another body, for sanitizers."""
        return replace(self, body=body)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model a provider offers, by the provider's own id."""

    id: str
    created: int | None = None
    owned_by: str | None = None
    extra: Extra = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """One identity a provider accepts. ``id`` is a fingerprint, ``label`` says where it came from.

    ``secret`` is what a request carries: a key, or an access token, which ``expires_at`` (UTC) and
    can be renewed with ``refresh_token``. ``identity`` is the account's own name (an address, a
    subject); two credentials with one are duplicates. ``details`` are a plugin's own words about
    it (a project, a base URL, a token's client); what is secret among them is ``SecretStr``.
    ``tier`` is the plan behind it. Lower ``priority`` goes first.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderCall:
    """One attempt, as a provider's ``encode`` sees it.

    ``dialect`` is the wire format of ``body``; ``body`` is the provider's own copy (top level),
    with ``model`` and ``stream`` already those of the attempt. A provider without dialects gets
    ``dialect=None``, an empty body and reads ``chat``. ``client`` is who asks, for what a provider
    must keep apart. ``options`` are the deployment's: a ``body`` has them already, a ``chat`` has not.
    """

    dialect: str | None
    body: JsonObject = field(repr=False)
    chat: ChatRequest | None = field(default=None, repr=False)
    stream: bool = False
    client: str = ""
    options: Extra = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle:
    """Whether a provider can be counted on, and what using it risks.

    ``until`` is the day an ``ended`` provider stopped or a ``limited`` one will.
    """

    status: Literal["active", "limited", "ended"] = "active"
    until: date | None = None
    note: str = ""
    link: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureDecision:
    """What a failure means.

    ``fault`` says who must act. ``next``: ``retry`` with the same credential, ``rotate`` to the
    next, ``fail_over`` to the next deployment, ``reject`` to the client. ``cooldown`` is what cools
    down: the whole credential, this credential for the model (or its quota group), or the whole
    provider; for ``cooldown_s`` seconds (``None``: ``back_off_s``, seconds by failures in a row, of
    which the last stays; without these the core's own). ``error`` is what the
    client is told if the request ends here. ``renew``: with ``cooldown="credential"``, a login's token
    was refused and is renewed instead; of a 401 that is believed anyway. ``disable_until_login``: no time
    mends it; the credential is out until its owner has acted and somebody logs in anew, and
    ``error`` says why. ``suspect_details``: with ``cooldown="credential"``, the names of its details that may be
    wrong (a project); its refresher is asked once without them, and within some hours not again.
    """

    fault: Literal["client", "credential", "model", "provider", "network"]
    next: Literal["retry", "rotate", "fail_over", "reject"]
    error: ProxyError
    cooldown: Literal["credential", "model", "provider"] | None = None
    cooldown_s: float | None = None
    back_off_s: Sequence[float] = ()
    renew: bool = False
    disable_until_login: bool = False
    suspect_details: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaWindow:
    """What a provider says of an interval it counts over.

    ``limit`` and ``used`` are in ``unit``; ``None`` is unknown. ``resets_at`` is UTC.
    ``group`` names a quota group or a model; empty: the one that was asked for.
    """

    unit: Literal["requests", "tokens"] = "requests"
    limit: float | None = None
    used: float | None = None
    resets_at: datetime | None = None
    group: str = ""
