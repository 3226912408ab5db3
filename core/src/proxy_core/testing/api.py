"""The names of ``proxy_core.testing`` itself: see there."""

from proxy_core.testing.contract import (
    DialectConformance,
    LogSinkConformance,
    ProviderConformance,
    ProviderContract,
    RedactorConformance,
    RefresherConformance,
    SanitizerConformance,
    every_split,
)
from proxy_core.testing.memory import MemoryUpstream, run_in_memory
from proxy_core.testing.oauth import FakeOAuthServer, open_exchange
from proxy_core.testing.plugin import plugin_context, plugin_with
from proxy_core.testing.program import Program, run, serving
from proxy_core.testing.prompt import ScriptedPrompt
from proxy_core.testing.proxy import STATE_SECRET, Answer, RunningProxy, composed, fingerprint, run_proxy
from proxy_core.testing.state_contract import StateStoreContract
from proxy_core.testing.state_peer import Peer
from proxy_core.testing.steps import chunk, cut, pause, stall
from proxy_core.testing.upstream import FakeUpstream, Script, SeenRequest
from proxy_core.testing.virtual_clock import VirtualClock

__all__ = [
    "STATE_SECRET",
    "Answer",
    "DialectConformance",
    "FakeOAuthServer",
    "FakeUpstream",
    "LogSinkConformance",
    "MemoryUpstream",
    "Peer",
    "Program",
    "ProviderConformance",
    "ProviderContract",
    "RedactorConformance",
    "RefresherConformance",
    "RunningProxy",
    "SanitizerConformance",
    "Script",
    "ScriptedPrompt",
    "SeenRequest",
    "StateStoreContract",
    "VirtualClock",
    "chunk",
    "composed",
    "cut",
    "every_split",
    "fingerprint",
    "open_exchange",
    "pause",
    "plugin_context",
    "plugin_with",
    "run",
    "run_in_memory",
    "run_proxy",
    "serving",
    "stall",
]
