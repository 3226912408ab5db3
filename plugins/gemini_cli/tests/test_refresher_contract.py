"""The refresher keeps the promises of its kind."""

import json
from typing import ClassVar

import pytest

from proxy_core.testing import RefresherConformance
from proxy_plugin_gemini_cli.code_assist import backend_of
from proxy_plugin_gemini_cli.oauth import GoogleLogin
from proxy_plugin_gemini_cli.settings import GeminiCliSettings


class TestGoogleLogin(RefresherConformance):
    response_sample = json.dumps({"access_token": "at-2", "token_type": "Bearer", "expires_in": 3599}).encode()
    details: ClassVar = {"client_id": "a-client", "client_secret": "a-secret", "project_id": "p"}

    @pytest.fixture
    def refresher(self):
        settings = GeminiCliSettings()
        return GoogleLogin(settings, backend_of(settings)).refresher()
