"""The sink keeps the promises of its kind."""

import pytest

from proxy_core.testing import LogSinkConformance, plugin_context
from proxy_plugin_jsonl import proxy_log_sinks


class TestJsonLines(LogSinkConformance):
    @pytest.fixture
    def sink(self, tmp_path):
        [sink] = proxy_log_sinks(plugin_context("jsonl", folder=tmp_path))
        return sink
