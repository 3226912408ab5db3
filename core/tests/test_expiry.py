"""When a token ends, as files and variables say it."""

from datetime import UTC, datetime

import pytest

from proxy_core import token_expiry


@pytest.mark.parametrize("value", [1790000000, 1790000000000, "1790000000000", "1790000000.0", "2026-09-21T14:13:20Z"])
def test_an_expiry_may_be_seconds_milliseconds_or_text(value):
    assert token_expiry(value) == datetime(2026, 9, 21, 14, 13, 20, tzinfo=UTC)


@pytest.mark.parametrize("value", [None, 0, "", "soon", -5, True, [], 1e300, float("nan")])
def test_an_expiry_that_cannot_be_read_means_renew_first(value):
    assert token_expiry(value) is None
