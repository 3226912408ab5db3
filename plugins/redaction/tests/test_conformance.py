"""The redactor and the sanitizer keep the promises of their kinds."""

import pytest

from proxy_core.testing import RedactorConformance, SanitizerConformance, plugin_context
from proxy_plugin_redaction import proxy_redactors, proxy_sanitizers

#: Made up, in a vendor's shape; put together here so that no scanner takes this file for a leak.
KEY = "sk-proj-" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
MAIL = "ann.example@example.org"


def context(folder, **settings):
    return plugin_context("redaction", {"plugins": {"redaction": settings}}, folder=folder)


class TestRedaction(RedactorConformance):
    secrets = (KEY, MAIL)

    @pytest.fixture
    def redactor(self, tmp_path):
        [redactor] = proxy_redactors(context(tmp_path, personal=["email"]))
        return redactor


class TestMasking(SanitizerConformance):
    bodies = (
        {"messages": [{"role": "user", "content": f"Write to {MAIL}"}]},
        {"input": [{"role": "user", "content": MAIL}]},
    )

    @pytest.fixture
    def sanitizer(self, tmp_path):
        [sanitizer] = proxy_sanitizers(context(tmp_path, mask=["email"]))
        return sanitizer
