"""A QR code on a terminal, if ``segno`` is installed (the extra ``qr``)."""

from __future__ import annotations

import io


def qr_text(text: str) -> str | None:
    """Half-block characters, two rows of the code per line; ``None`` without the library or if the text is too long."""
    try:
        import segno
    except ImportError:
        return None
    out = io.StringIO()
    try:
        segno.make_qr(text, error="l").terminal(out, compact=True)
    except segno.DataOverflowError:
        return None
    return out.getvalue()
