"""An address as a picture that a telephone reads off a terminal."""

from proxy_plugin_accounts.qr import qr_text


def test_a_qr_code_fits_a_terminal():
    text = qr_text("https://chat.example.com/authorize?user_code=ABCD-1234&client=x")

    assert 10 < len(text.splitlines()) < 25
    assert qr_text("x" * 9000) is None
