"""The refresher keeps the promises of its kind."""

import json
from typing import ClassVar

import pytest

from proxy_core.testing import RefresherConformance
from proxy_plugin_qwen_code.login import qwen_refresher
from proxy_plugin_qwen_code.settings import QwenCodeSettings

TOKENS = {"access_token": "at-2", "refresh_token": "rt-2", "token_type": "Bearer", "expires_in": 21600}


class TestQwenLogin(RefresherConformance):
    response_sample = json.dumps({**TOKENS, "resource_url": "portal.qwen.ai"}).encode()
    details: ClassVar = {"client_id": "public-client"}

    @pytest.fixture
    def refresher(self):
        return qwen_refresher(QwenCodeSettings())
