"""Build a provider from a vendor's row and the user's settings. Pure: the core owns the sockets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from proxy_core import (
    BadRequest,
    Credential,
    ErrorRules,
    FailureDecision,
    ListModels,
    ModelSpec,
    Provider,
    ProviderCall,
    ProviderSettings,
    RotationSettings,
    UpstreamCount,
    UpstreamFailure,
    UpstreamRequest,
    classify_by_rules,
    json_bytes,
    load_json,
)
from proxy_core.dialects.common import counted
from proxy_plugin_openai_compat.formats import PATHS, formats, formats_of, maker
from proxy_plugin_openai_compat.listing import read_listing
from proxy_plugin_openai_compat.quirks import (
    CHAT,
    EMBEDDINGS,
    MAX_COMPLETION_TOKENS,
    MAX_TOKENS,
    NEWER_LIMIT_HOSTS,
    PLAIN,
    RESPONSES,
    Vendor,
)
from proxy_plugin_openai_compat.quotas import ask, page_url
from proxy_plugin_openai_compat.thoughts import Thoughts
from proxy_plugin_openai_compat.translated import fit_translated, keep_marks, with_placeholder

#: The fields of a request for a response that a count may have, too.
_COUNTED = frozenset("model input instructions tools tool_choice parallel_tool_calls reasoning text truncation".split())


def build_provider(
    name: str, vendor: Vendor, settings: ProviderSettings, plugins: frozenset[str] = frozenset()
) -> Provider:
    """``plugins``: the active ones, of which some have formats that vendors have, too."""
    base = without_path(str(settings.base_url or vendor.base_url).rstrip("/"))
    stream_usage = vendor.stream_usage if settings.stream_usage is None else settings.stream_usage
    headers = tuple((key, value.get_secret_value()) for key, value in settings.headers.items())
    upstream = OpenAICompatible(
        vendor=vendor,
        base=base,
        headers=headers,
        stream_usage=stream_usage,
        token_limit=token_limit(vendor, base),
        thoughts=Thoughts() if vendor.needs_thoughts else None,
    )
    page, url = vendor.quota, page_url(vendor.quota, base, vendor.base_url) if vendor.quota is not None else None
    return Provider(
        name=name,
        quota=partial(ask, page, url, headers) if page is not None and url is not None else None,
        servers=[url] if url is not None else [],
        rotation=page.rotation if page is not None else RotationSettings(),
        maker=maker(name, vendor, settings),
        dialects=formats(vendor, settings, plugins),
        dialects_of=formats_of(vendor, settings, plugins),
        encode=upstream.encode,
        listener=upstream.thoughts.listener if upstream.thoughts is not None else None,
        classify_failure=upstream.classify_failure if vendor.errors != ErrorRules() else None,
        list_models=ListModels(request=upstream.list_request, parse=parse_models),
        count_tokens=UpstreamCount(request=upstream.count_request, parse=parse_count) if vendor.counts_tokens else None,
        credential_optional=vendor.local or settings.base_url is not None,
    )


def without_path(base: str) -> str:
    """A base URL, if the whole path of a request was pasted instead."""
    path = next((path for path in (*PATHS.values(), "/models") if base.endswith(path)), "")
    return base.removesuffix(path).rstrip("/")


class OpenAICompatible(Struct, frozen=True, kw_only=True):
    """The provider's functions, bound to the vendor's row and the settings."""

    vendor: Vendor
    base: str
    headers: tuple[tuple[str, str], ...]
    stream_usage: bool
    token_limit: str
    thoughts: Thoughts | None = None

    @property
    def _droppable(self) -> Iterator[str]:
        """Fields that the vendor may not have; others are only renamed, or repeat what the request says anyway."""
        yield from self.vendor.drops
        yield from self.vendor.drop_values
        if self.vendor.dimensions is not None:
            yield "dimensions"

    def encode(self, call: ProviderCall, credential: Credential) -> UpstreamRequest:
        given = dict(call.body)
        if call.dialect != RESPONSES:
            self._adapt(call.body, call)
        message = self._post(PATHS[call.dialect or CHAT], call.body, credential)
        dropped = [name for name in self._droppable if name in given and name not in call.body]
        return replace(message, dropped=dropped) if dropped else message

    def count_request(self, call: ProviderCall, credential: Credential) -> UpstreamRequest:
        """``UpstreamCount``. Raises ``BadRequest`` for a request in a format in which the vendor does not count."""
        if call.dialect != RESPONSES:
            raise BadRequest("This model's tokens are not counted in this format.")
        counted = {name: value for name, value in call.body.items() if name in _COUNTED}
        return self._post(f"{PATHS[RESPONSES]}/input_tokens", counted, credential)

    def _post(self, path: str, body: dict[str, Any], credential: Credential) -> UpstreamRequest:
        headers = [("content-type", "application/json"), *self._authorization(credential), *self.headers]
        return UpstreamRequest(url=self.base + path, headers=headers, content=json_bytes(body))

    def _adapt(self, body: dict[str, Any], call: ProviderCall) -> None:
        """Make a body of an older format one that the vendor accepts."""
        if call.dialect == EMBEDDINGS:
            body.pop("stream", None)
        elif call.stream:
            self._ask_for_usage(body)
        else:
            body.pop("stream_options", None)  # alone, it is an error
        name_limit(body, call.options, self.token_limit if call.dialect == CHAT else MAX_TOKENS)
        for old, new in self.vendor.renames.items():
            if old in body:
                body.setdefault(new, body.pop(old))
        for key in self.vendor.drops:
            body.pop(key, None)
        self._apply_values(body)
        if call.chat is not None and call.chat.dialect != CHAT:
            keep_marks(body, call.chat, self.vendor)
            fit_translated(body, call.chat)
        if self.thoughts is not None and body.get("thinking") != {"type": "disabled"}:
            find = partial(self.thoughts.find, call.client)
            body["messages"] = [with_placeholder(message, find) for message in body.get("messages", ())]
        if self.vendor.message_drops:
            body["messages"] = [self._message(message) for message in body.get("messages", ())]

    def _apply_values(self, body: dict[str, Any]) -> None:
        """Apply the row's rules that depend on a value or on the model."""
        vendor, model = self.vendor, str(body.get("model", ""))
        for key, values in vendor.drop_values.items():
            if key in body and body[key] in values:
                del body[key]
        if vendor.dimensions is not None and not any(fnmatchcase(model, glob) for glob in vendor.dimensions):
            body.pop("dimensions", None)
        for rule in vendor.thinking:
            if rule.applies(model):
                fill(body, rule.fields(body.pop("reasoning_effort", None)))
                return

    def _message(self, message: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in message.items() if key not in self.vendor.message_drops}

    def _ask_for_usage(self, body: dict[str, Any]) -> None:
        """Ask for usage, so that streams are counted; the core removes it for clients that did not ask for it."""
        options = {**(body.get("stream_options") or {}), "include_usage": True}
        if not self.stream_usage:
            del options["include_usage"]
        if options:
            body["stream_options"] = options
        else:
            body.pop("stream_options", None)

    def _authorization(self, credential: Credential) -> list[tuple[str, str]]:
        secret = credential.secret.get_secret_value()
        return [("authorization", f"Bearer {secret}")] if secret else []

    def classify_failure(self, failure: UpstreamFailure) -> FailureDecision:
        return classify_by_rules(failure, self.vendor.errors)

    def list_request(self, credential: Credential) -> UpstreamRequest:
        headers = [*self._authorization(credential), *self.headers]
        return UpstreamRequest(method="GET", url=f"{self.base}/models", headers=headers)


def token_limit(vendor: Vendor, base: str) -> str:
    """The name under which the limit on tokens is sent."""
    host = urlsplit(base).hostname or ""
    newer = vendor == PLAIN and any(fnmatchcase(host, glob) for glob in NEWER_LIMIT_HOSTS)
    return MAX_COMPLETION_TOKENS if newer else vendor.token_limit


def name_limit(body: dict[str, Any], defaults: Mapping[str, Any], name: str) -> None:
    """Leave one limit on tokens: the client's before the settings', the newer name before the older."""
    given = [(key, body.pop(key)) for key in (MAX_COMPLETION_TOKENS, MAX_TOKENS) if key in body]
    given.sort(key=lambda pair: pair[0] in defaults and pair[1] == defaults[pair[0]])
    limit = next((value for _, value in given if value is not None), None)
    if limit is not None:
        body[name] = limit


def fill(body: dict[str, Any], fields: Mapping[str, Any]) -> None:
    """Add the fields that ``body`` lacks; objects are filled in member by member."""
    for key, value in fields.items():
        if isinstance(value, Mapping) and isinstance(body.get(key), dict):
            body[key] = dict(body[key])
            fill(body[key], value)
        elif isinstance(value, Mapping):
            body.setdefault(key, dict(value))
        else:
            body.setdefault(key, value)


def parse_count(body: bytes) -> int:
    """``{"input_tokens": ...}``. Raises ``ValueError``."""
    return counted(body, "input_tokens")


def parse_models(body: bytes) -> list[ModelSpec]:
    """``{"data": [{"id": ...}]}``, or a bare array, as Together sends it. Raises ``ValueError`` on anything else."""
    value = load_json(body)
    items = value.get("data") if isinstance(value, dict) else value
    if not isinstance(items, list):
        raise ValueError("no list of models")
    return [_model(item) for item in items if isinstance(item, dict) and isinstance(item.get("id"), str)]


def _model(item: dict[str, Any]) -> ModelSpec:
    created, owner = item.get("created"), item.get("owned_by")
    extra = {key: value for key, value in item.items() if key not in ("id", "object", "created", "owned_by")}
    return ModelSpec(
        id=item["id"],
        created=created if isinstance(created, int) else None,
        owned_by=owner if isinstance(owner, str) else None,
        extra=extra,
        info=read_listing(extra),
    )
