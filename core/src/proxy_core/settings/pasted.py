"""Values as people paste them: with quotes, with the header around them, in files of another encoding."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from proxy_core.errors import SettingsError

_QUOTES = {'"': '"', "'": "'", "`": "`", "\u201c": "\u201d", "\u2018": "\u2019", "\u00ab": "\u00bb"}
#: The variable that a key was set as, as far as it may have been copied with it.
_VARIABLE = re.compile(r"(?:export\s+)?[A-Z][A-Z0-9_]*_(?:KEY|TOKEN)[A-Z0-9_]*\s*=\s*(?=[^\s=])", re.ASCII)
#: The header that it is sent in, likewise.
_HEADER = re.compile(r"(?:(?:authorization|x-api-key|api-key)\s*:\s*)?(?:bearer(?:\s+|$))?", re.IGNORECASE)
#: Byte order marks and spaces of no width.
_INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060"


def unquoted(text: str) -> str:
    """Without spaces and quotes around it."""
    text = text.strip().strip(_INVISIBLE).strip()
    while len(text) > 1 and _QUOTES.get(text[0]) == text[-1]:
        text = text[1:-1].strip()
    return text


def bare_key(text: str) -> str:
    """A key without the variable, the header and the quotes that were copied with it."""
    plain = unquoted(text)
    if variable := _VARIABLE.match(plain):
        plain = unquoted(plain[variable.end() :])
    header = _HEADER.match(plain)
    assert header is not None  # it may be empty
    return unquoted(plain[header.end() :])


def decoded(data: bytes) -> str:
    """The text of a file in UTF-8 or UTF-16, with or without a byte order mark. Raises ``UnicodeDecodeError``."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    if data[1:2] == b"\0" or data[:1] == b"\0":  # settings begin with ASCII
        return data.decode("utf-16-le" if data[1:2] == b"\0" else "utf-16-be")
    return data.decode("utf-8-sig")


def read_toml(file: Path) -> dict[str, Any]:
    """Raises ``SettingsError`` if it cannot be read, or is not TOML."""
    try:
        return tomllib.loads(decoded(file.read_bytes()).replace("\r\n", "\n"))
    except UnicodeDecodeError:
        raise SettingsError([f"{file}: it is neither UTF-8 nor UTF-16"]) from None
    except ValueError as error:  # not TOML, or a number of thousands of digits
        raise SettingsError([f"{file}: {error}"]) from None
    except RecursionError:
        raise SettingsError([f"{file}: it is nested too deeply"]) from None
    except OSError as error:
        raise SettingsError([f"{file}: {error.strerror}"]) from None
