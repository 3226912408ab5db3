"""The toy provider keeps what a provider promises by itself; it has no upstream that could fail."""

import pytest

from proxy_core.testing import ProviderContract
from proxy_plugin_devkit.demo import demo_provider


class TestDemo(ProviderContract):
    @pytest.fixture
    def provider(self):
        return demo_provider("demo")
