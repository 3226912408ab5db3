"""The public API for plugin authors, with ``testing``, ``sse``, ``dialects`` and ``cli.api``; all else is internal."""

from proxy_core import interfaces, messages
from proxy_core.clock import Clock, Deadline, SystemClock
from proxy_core.credentials.expiry import token_expiry
from proxy_core.dialects.common import json_bytes, load_object
from proxy_core.errors import (
    AccountUnpaid,
    BadRequest,
    CapacityExhausted,
    CredentialRefused,
    Forbidden,
    InternalError,
    ModelNotFound,
    PluginError,
    ProxyError,
    SettingsError,
    SetupError,
    StreamCut,
    Unavailable,
    UpstreamBroken,
    UpstreamRejected,
    UpstreamTimeout,
)
from proxy_core.failures.client_errors import rejected
from proxy_core.failures.error_body import ErrorBody, read_error
from proxy_core.failures.kinds import ErrorRules, FailureKind, failure_kind
from proxy_core.failures.policy import classify_by_rules, classify_failure, classify_status, decision_for
from proxy_core.failures.rate_limit_headers import quota_windows, reset_after_s, retry_after_s
from proxy_core.hookspecs import hookimpl
from proxy_core.interfaces import *
from proxy_core.messages import *
from proxy_core.pipeline.guard import FieldFilter
from proxy_core.settings.base import StrList, environment_name
from proxy_core.settings.rotation import RotationSettings
from proxy_core.settings.schema import PluginSettings, ProviderSettings
from proxy_core.settings.sources import AskedProvider, FoundSettings, SettingsSource, Variable, Variables
from proxy_core.stash import Stash, StashKey

__all__ = [
    "AccountUnpaid",
    "AskedProvider",
    "BadRequest",
    "CapacityExhausted",
    "Clock",
    "CredentialRefused",
    "Deadline",
    "ErrorBody",
    "ErrorRules",
    "FailureKind",
    "FieldFilter",
    "Forbidden",
    "FoundSettings",
    "InternalError",
    "ModelNotFound",
    "PluginError",
    "PluginSettings",
    "ProviderSettings",
    "ProxyError",
    "RotationSettings",
    "SettingsError",
    "SettingsSource",
    "SetupError",
    "Stash",
    "StashKey",
    "StrList",
    "StreamCut",
    "SystemClock",
    "Unavailable",
    "UpstreamBroken",
    "UpstreamRejected",
    "UpstreamTimeout",
    "Variable",
    "Variables",
    "classify_by_rules",
    "classify_failure",
    "classify_status",
    "decision_for",
    "environment_name",
    "failure_kind",
    "hookimpl",
    "json_bytes",
    "load_object",
    "quota_windows",
    "read_error",
    "rejected",
    "reset_after_s",
    "retry_after_s",
    "token_expiry",
]
# What crosses the boundary is listed where it is defined, and is the public API as a whole.
__all__ += interfaces.__all__
__all__ += messages.__all__
