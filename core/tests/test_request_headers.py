"""What a client's headers say to the proxy."""

import pytest

from proxy_core.server.request_headers import read

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("sent", "kept"),
    {
        GOOD: GOOD,
        f"00-{TRACE}-{SPAN}-00": f"00-{TRACE}-{SPAN}-00",
        f"cc-{TRACE}-{SPAN}-01": GOOD,
        f"cc-{TRACE}-{SPAN}-01-what-comes-later": GOOD,
        f"00-{TRACE}-{SPAN}-01-more": None,
        f"ff-{TRACE}-{SPAN}-01": None,
        f"00-{'0' * 32}-{SPAN}-01": None,
        f"00-{TRACE}-{'0' * 16}-01": None,
        f"00-{TRACE.upper()}-{SPAN}-01": None,
        f"00-{TRACE}-{SPAN}": None,
        f"{GOOD}\n": None,
        "x" * 10_000: None,
        "": None,
    }.items(),
)
def test_a_valid_traceparent_is_kept(sent, kept):
    assert read([(b"traceparent", sent.encode())]).traceparent == kept


def test_of_two_traceparents_the_first_that_is_one_counts():
    headers = [(b"traceparent", b"nonsense"), (b"traceparent", GOOD.encode())]

    assert read(headers).traceparent == GOOD
