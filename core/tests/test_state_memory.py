"""State within one process."""

import pytest

from proxy_core.state.memory import memory_store
from proxy_core.testing import StateStoreContract


class TestMemoryState(StateStoreContract):
    short_s = 0.05

    @pytest.fixture
    def store(self):
        return memory_store()

    @pytest.fixture
    def url(self):
        return "memory:"
