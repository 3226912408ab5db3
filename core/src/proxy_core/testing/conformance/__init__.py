"""What the core relies on in plugins of each kind, as cases that run with or without pytest.

With pytest, subclass a class of :mod:`proxy_core.testing`; without it::

    for outcome in run_cases([*CONTRACT_CASES, *PROVIDER_CASES], ProviderSubject(provider=mine)):
        print(outcome.case.name, outcome.result, outcome.message)
"""

from proxy_core.testing.conformance.case import Case as Case
from proxy_core.testing.conformance.case import NotApplicable as NotApplicable
from proxy_core.testing.conformance.case import Outcome as Outcome
from proxy_core.testing.conformance.case import run_case as run_case
from proxy_core.testing.conformance.case import run_cases as run_cases
from proxy_core.testing.conformance.dialect import DIALECT_CASES as DIALECT_CASES
from proxy_core.testing.conformance.dialect import DialectSubject as DialectSubject
from proxy_core.testing.conformance.guards import REDACTOR_CASES as REDACTOR_CASES
from proxy_core.testing.conformance.guards import SANITIZER_CASES as SANITIZER_CASES
from proxy_core.testing.conformance.guards import SINK_CASES as SINK_CASES
from proxy_core.testing.conformance.guards import RedactorSubject as RedactorSubject
from proxy_core.testing.conformance.guards import SanitizerSubject as SanitizerSubject
from proxy_core.testing.conformance.guards import SinkSubject as SinkSubject
from proxy_core.testing.conformance.provider import CONTRACT_CASES as CONTRACT_CASES
from proxy_core.testing.conformance.provider import PROVIDER_CASES as PROVIDER_CASES
from proxy_core.testing.conformance.provider_play import ProviderSubject as ProviderSubject
from proxy_core.testing.conformance.refresher import REFRESHER_CASES as REFRESHER_CASES
from proxy_core.testing.conformance.refresher import RefresherSubject as RefresherSubject
