"""litellm's providers keep what a provider promises by itself; litellm opens the connections, so the kit plays none."""

import pytest

from proxy_core.testing import ProviderContract
from proxy_core.testing.faults import OPENAI
from proxy_plugin_litellm.provider import build_keyed

#: Importing litellm takes seconds, and it warns.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


class TestKeyed(ProviderContract):
    stream_sample = OPENAI.stream

    @pytest.fixture
    def provider(self):
        return build_keyed("cohere")
