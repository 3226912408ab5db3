"""The sanitizer keeps the promises of its kind."""

import pytest

from proxy_core.testing import SanitizerConformance
from proxy_plugin_mirrowel.temperature import temperature_zero


class TestTemperatureZero(SanitizerConformance):
    bodies = ({"messages": [], "temperature": 0}, {"temperature": "0"}, {"temperature": None})

    @pytest.fixture(params=["remove", "set"])
    def sanitizer(self, request):
        return temperature_zero(request.param)
