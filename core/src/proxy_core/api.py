"""The names of ``proxy_core`` itself, which are its public API: see there."""

from proxy_core.clock import Clock as Clock
from proxy_core.clock import Deadline as Deadline
from proxy_core.clock import SystemClock as SystemClock
from proxy_core.credentials.expiry import token_expiry as token_expiry
from proxy_core.credentials.json_file import json_object as json_object
from proxy_core.dialects.common import json_bytes as json_bytes
from proxy_core.dialects.common import load_json as load_json
from proxy_core.dialects.common import load_object as load_object
from proxy_core.errors import AccountUnpaid as AccountUnpaid
from proxy_core.errors import BadRequest as BadRequest
from proxy_core.errors import CapacityExhausted as CapacityExhausted
from proxy_core.errors import ContextExceeded as ContextExceeded
from proxy_core.errors import CredentialRefused as CredentialRefused
from proxy_core.errors import Forbidden as Forbidden
from proxy_core.errors import InternalError as InternalError
from proxy_core.errors import ModelNotFound as ModelNotFound
from proxy_core.errors import NotFound as NotFound
from proxy_core.errors import PluginError as PluginError
from proxy_core.errors import ProxyError as ProxyError
from proxy_core.errors import SettingsError as SettingsError
from proxy_core.errors import SetupError as SetupError
from proxy_core.errors import StreamCut as StreamCut
from proxy_core.errors import Unavailable as Unavailable
from proxy_core.errors import UpstreamBroken as UpstreamBroken
from proxy_core.errors import UpstreamRejected as UpstreamRejected
from proxy_core.errors import UpstreamTimeout as UpstreamTimeout
from proxy_core.failures.client_errors import rejected as rejected
from proxy_core.failures.error_body import ErrorBody as ErrorBody
from proxy_core.failures.error_body import read_error as read_error
from proxy_core.failures.kinds import ErrorRules as ErrorRules
from proxy_core.failures.kinds import FailureKind as FailureKind
from proxy_core.failures.kinds import failure_kind as failure_kind
from proxy_core.failures.policy import classify_by_rules as classify_by_rules
from proxy_core.failures.policy import classify_failure as classify_failure
from proxy_core.failures.policy import classify_status as classify_status
from proxy_core.failures.policy import decision_for as decision_for
from proxy_core.failures.rate_limit_headers import quota_windows as quota_windows
from proxy_core.failures.rate_limit_headers import reset_after_s as reset_after_s
from proxy_core.failures.rate_limit_headers import retry_after_s as retry_after_s
from proxy_core.files import private_folder as private_folder
from proxy_core.hookspecs import hookimpl as hookimpl
from proxy_core.interfaces.credentials import *
from proxy_core.interfaces.dialects import *
from proxy_core.interfaces.models import *
from proxy_core.interfaces.operations import *
from proxy_core.interfaces.pages import *
from proxy_core.interfaces.plugins import *
from proxy_core.interfaces.providers import *
from proxy_core.interfaces.records import *
from proxy_core.interfaces.requests import *
from proxy_core.interfaces.servers import *
from proxy_core.interfaces.state import *
from proxy_core.interfaces.status import *
from proxy_core.messages.content import *
from proxy_core.messages.events import *
from proxy_core.messages.json_types import *
from proxy_core.messages.reprs import *
from proxy_core.messages.requests import *
from proxy_core.messages.sealed import *
from proxy_core.messages.stash import *
from proxy_core.messages.upstream import *
from proxy_core.pipeline.guard import FieldFilter as FieldFilter
from proxy_core.pipeline.text_filter import TextFilter as TextFilter
from proxy_core.settings.base import StrList as StrList
from proxy_core.settings.base import environment_name as environment_name
from proxy_core.settings.rotation import RotationSettings as RotationSettings
from proxy_core.settings.rotation import WindowSettings as WindowSettings
from proxy_core.settings.schema import PluginSettings as PluginSettings
from proxy_core.settings.schema import ProviderSettings as ProviderSettings
from proxy_core.settings.schema import ServerSettings as ServerSettings
from proxy_core.settings.sources import AskedProvider as AskedProvider
from proxy_core.settings.sources import FoundSettings as FoundSettings
from proxy_core.settings.sources import SettingsSource as SettingsSource
from proxy_core.settings.sources import Variable as Variable
from proxy_core.settings.sources import Variables as Variables
from proxy_core.state.memory import MemoryState as MemoryState
