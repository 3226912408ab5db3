"""Where a credential is valid: its kind, its plan and region, and the base URL that follows from them. Pure.

Source: qwen-code.md sections 0, 3.3, 5 and 7.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from msgspec import Struct

from proxy_core import Credential
from proxy_plugin_qwen_code.settings import QwenCodeSettings

KIND = "qwen_oauth"
CODING, TOKEN, STUDIO = "coding_plan", "token_plan", "model_studio"
#: Coding Plan keys have their own prefix; keys for Token Plan and Model Studio look alike.
CODING_PREFIX = "sk-sp-"
#: For a login whose token server names no host.
LOGIN_BASE = "https://dashscope.aliyuncs.com/compatible-mode/v1"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?|::1")

_STUDIO = "https://{}/compatible-mode/v1"
_TOKEN = "https://token-plan.{}.maas.aliyuncs.com/compatible-mode/v1"  # noqa: S105  # an address
BASES: Mapping[str, Mapping[str, str]] = {
    CODING: {
        "china": "https://coding.dashscope.aliyuncs.com/v1",
        "international": "https://coding-intl.dashscope.aliyuncs.com/v1",
    },
    TOKEN: {"china": _TOKEN.format("cn-beijing"), "international": _TOKEN.format("ap-southeast-1")},
    STUDIO: {
        "china": _STUDIO.format("dashscope.aliyuncs.com"),
        "international": _STUDIO.format("dashscope-intl.aliyuncs.com"),
        "us": _STUDIO.format("dashscope-us.aliyuncs.com"),
        "hongkong": _STUDIO.format("cn-hongkong.dashscope.aliyuncs.com"),
    },
}
#: A key's ``tier`` is a plan, or a plan with a region: ``coding_plan``, ``model_studio-us``.
TIERS = tuple(f"{plan}{region}" for plan, bases in BASES.items() for region in ("", *(f"-{name}" for name in bases)))

_DASHSCOPE = ("dashscope.aliyuncs.com", "dashscope-intl.aliyuncs.com", "dashscope-us.aliyuncs.com")
_DASHSCOPE_GLOBS = ("token-plan.*.maas.aliyuncs.com", "*.alibaba-inc.com", "*.aliyun-inc.com", "*.alicloudapi.com")


class Target(Struct, frozen=True, kw_only=True):
    """Where requests with one credential go. ``dashscope``: that host knows the vendor's own headers and fields."""

    base: str
    plan: str
    login: bool = False
    dashscope: bool = True


def plan_of(key: str, tier: str | None, settings: QwenCodeSettings) -> str:
    """The plan named by the key's tier, else by its prefix, else by the settings."""
    if tier in TIERS:
        return tier.partition("-")[0]
    if key.startswith(CODING_PREFIX):
        return CODING
    return STUDIO if settings.plan == "auto" else settings.plan


def target_of(credential: Credential, settings: QwenCodeSettings, base_url: str | None) -> Target:
    """``base_url`` is ``QWEN_CODE_API_BASE``: it applies to every key, but not to logins."""
    if credential.kind == KIND:
        base = str(settings.chat_url).rstrip("/") if settings.chat_url else login_base(credential)
        return Target(base=base, plan=KIND, login=True)
    plan = plan_of(credential.secret.get_secret_value(), credential.tier, settings)
    if base_url:
        return Target(
            base=base_url.rstrip("/"), plan=plan, dashscope=settings.base_is_dashscope or is_dashscope(base_url)
        )
    tier_region = (credential.tier or "").partition("-")[2] if credential.tier in TIERS else ""
    bases = BASES[plan]
    return Target(base=bases.get(tier_region or settings.region, bases["international"]), plan=plan)


def login_base(credential: Credential) -> str:
    """From the token response's ``resource_url``, which usually lacks scheme and version: ``portal.qwen.ai``."""
    named = credential.details.get("resource_url")
    base = named.strip() if isinstance(named, str) else ""
    if not base:
        return LOGIN_BASE
    base = _with_scheme(base).rstrip("/")
    return base if base.endswith("/v1") else f"{base}/v1"


def is_base(resource: str) -> bool:
    """Whether a ``resource_url`` names a server, and one to which a token may be sent."""
    url = _with_scheme(resource.strip())
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    clean = _HOST.fullmatch(host) is not None and not (parts.username or parts.query or parts.fragment)
    clean = clean and url.isprintable() and url.count("://") == 1
    return clean and (parts.scheme == "https" or host in _LOOPBACK)


def _with_scheme(text: str) -> str:
    return text if text.startswith(("http://", "https://")) else f"https://{text}"


def tier_of(url: str) -> str | None:
    """The plan and region whose host this is, as a key's tier; ``None`` for other hosts."""
    host = urlsplit(url).hostname
    return next(
        (f"{p}-{r}" for p, bases in BASES.items() for r, base in bases.items() if urlsplit(base).hostname == host), None
    )


def is_dashscope(url: str) -> bool:
    """Compares the parsed host, because a substring search would match hostile names."""
    host = urlsplit(url).hostname or ""
    below = any(host == known or host.endswith(f".{known}") for known in _DASHSCOPE)
    return below or any(fnmatchcase(host, glob) for glob in _DASHSCOPE_GLOBS)


def mismatch(key: str, url: str) -> str | None:
    """Why a key cannot be valid at a host, as far as their forms show; ``None`` also if nothing is known."""
    if not is_dashscope(url):
        return None
    host = urlsplit(url).hostname or ""
    if key.startswith(CODING_PREFIX) and not host.startswith("coding"):
        return f"a Coding Plan key ({CODING_PREFIX}...) works only on coding hosts, not on {host}"
    if not key.startswith(CODING_PREFIX) and host.startswith("coding"):
        return f"{host} accepts only Coding Plan keys ({CODING_PREFIX}...)"
    return None
