"""The sanitizers keep the promises of their kind."""

import pytest

from proxy_core.testing import SanitizerConformance, plugin_context
from proxy_plugin_openai_compat import proxy_sanitizers

STEERED = ({"messages": [], "models": ["other/model"], "route": "fallback", "provider": {"order": ["x"]}},)


class TestGatewayFields(SanitizerConformance):
    bodies = STEERED

    @pytest.fixture
    def sanitizer(self, tmp_path):
        return proxy_sanitizers(plugin_context("openai_compat", folder=tmp_path))[0]


class TestSteeringFields(TestGatewayFields):
    @pytest.fixture
    def sanitizer(self, tmp_path):
        return proxy_sanitizers(plugin_context("openai_compat", folder=tmp_path))[1]
