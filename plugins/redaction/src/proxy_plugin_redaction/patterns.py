"""What to search for, as data: the shapes of vendors' keys, tokens in context, and personal data with checks.

All patterns run in RE2, whose time is linear in the length of the text for every pattern. RE2 has no
look-around, so a function afterwards checks what a pattern alone cannot decide.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping

from msgspec import Struct

Check = Callable[[str], bool]


class Shape(Struct, frozen=True, kw_only=True):
    """One kind of secret or personal data. With ``after_group``, the pattern's first group is kept and what follows it
    is replaced.

    ``anchored`` means that the pattern refers to the beginning or end of the text.
    """

    pattern: str
    check: Check | None = None
    after_group: bool = False
    anchored: bool = False


def _has_digit(text: str) -> bool:
    """Keys have digits; words that look like keys (``sk-learn-contrib-extensions``) do not."""
    return any(c.isdigit() for c in text)


def _has_token(text: str) -> bool:
    return any(len(run) >= 12 and _has_digit(run) for run in re.findall(r"[A-Za-z0-9]+", text))


def _random(text: str) -> bool:
    """Whether a value after ``password:`` is more than a word of prose or code."""
    return _has_digit(text) or len(text) >= 24


_NAMED = (
    r"(?:api|access|secret|private|auth|master|service)[_-]?(?:key|token|secret)|client[_-]?secret|id[_-]?token"
    r"|refresh[_-]?token|session[_-]?token|secret[_-]?access[_-]?key|pass(?:word|wd|phrase)|x-goog-api-key"
)

#: In nested JSON, quotes get more backslashes at each level.
_QUOTE = r"\\{0,15}[\"']?"

#: Prefixes of vendors' keys. ``sk-``: OpenAI, Anthropic, OpenRouter, DeepSeek, Moonshot and others.
_PREFIX = (
    r"(?:sk|pk|rk|csk|cpk)[-_]|AIza|AQ\.|GOCSPX-|ya29\.|gsk_|xai-|hf_|nvapi-|pplx-|r8_|fw_|tvly-|tgp_v1_|key_"
    r"|gh[pousr]_|github_pat_|glpat-|npm_|pypi-|xox[abposr]-|xapp-|dop_v1_|dapi|SG\.|shpat_|lin_api_|ntn_|sntrys_|sbp_"
)

#: Always searched for. Sources: the vendors' own documentation of their key prefixes.
SECRETS: Mapping[str, Shape] = {
    "private_key": Shape(
        pattern=r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?s:.*?)"
        r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\z)"
    ),
    "jwt": Shape(pattern=r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?"),
    "prefixed": Shape(pattern=rf"\b(?:{_PREFIX})[A-Za-z0-9_.-]{{16,}}", check=_has_digit),
    # The same without a word boundary before it, with a check that ordinary words do not pass.
    "glued": Shape(pattern=rf"(?:{_PREFIX})[A-Za-z0-9_.-]{{16,}}", check=_has_token),
    "google_refresh": Shape(pattern=r"1//[A-Za-z0-9_-]{16,}", check=_has_token),
    "aws": Shape(pattern=r"(?:AKIA|ASIA)[0-9A-Z]{16}"),
    "zai": Shape(pattern=r"[0-9a-f]{32}\.[A-Za-z0-9]{16}"),
    "authorization": Shape(
        after_group=True,
        pattern=rf"(?i)(\b(?:proxy-)?authorization{_QUOTE}\s*[:=]\s*{_QUOTE}(?:(?:bearer|basic|token|digest|negotiate)\s+)?)"
        r"[A-Za-z0-9._~+/=-]{6,}",
    ),
    "bearer": Shape(pattern=r"(?i)(\bbearer\s+)[A-Za-z0-9._~+/=-]{16,}", check=_has_digit, after_group=True),
    "cookie": Shape(
        pattern=rf"(?i)(\b(?:set-)?cookie{_QUOTE}\s*[:=]\s*{_QUOTE})[^\s=;,]+=[^\s]+[^\r\n]*", after_group=True
    ),
    "query": Shape(
        after_group=True,
        pattern=r"(?i)([?&](?:key|api[_-]?key|(?:access|refresh|auth|id)?_?token|auth|sig(?:nature)?|(?:client_)?secret"
        r"|password|code)=)[^&\s\"'<>#\\]{4,}",
    ),
    "assigned": Shape(
        after_group=True,
        pattern=rf"(?i)(\b[a-z0-9_.-]{{0,40}}(?:{_NAMED}){_QUOTE}\s*[:=]\s*{_QUOTE})[^\s\"'\\,;&<>{{}}()\[\]]{{6,}}",
        check=_random,
    ),
}


# --- Personal data -----------------------------------------------------------------------


#: A card number of 19 digits in groups of four.
_MAX_GROUPS = 5


def _is_phone(text: str) -> bool:
    return 8 <= sum(c.isdigit() for c in text) <= 15


def _is_card(text: str) -> bool:
    return next(cards(text), None) is not None


def cards(run: str) -> Iterator[tuple[int, int]]:
    """The spans of card numbers in a run of digit groups; a card number consists of whole groups."""
    groups = [m.span() for m in re.finditer(r"[0-9]+", run)]
    first = 0
    while first < len(groups):
        start, width, digits = groups[first][0], 1, 0
        for last in range(first, min(first + _MAX_GROUPS, len(groups)) if run[start] in "23456" else first):
            end = groups[last][1]
            digits += end - groups[last][0]
            if 13 <= digits <= 19 and _luhn([int(c) for c in run[start:end] if c.isdigit()]):
                yield start, end
                width = last - first + 1
                break
        first += width


def _luhn(digits: list[int]) -> bool:
    doubled = [d if i % 2 == 0 else sum(divmod(2 * d, 10)) for i, d in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


def _is_iban(text: str) -> bool:
    plain = text.replace(" ", "")
    if not 15 <= len(plain) <= 34:
        return False
    return int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


def _is_ip(text: str) -> bool:
    if ":::" in text:
        return False
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


#: Searched for if the settings say so.
PERSONAL: Mapping[str, Shape] = {
    "email": Shape(pattern=r"[\pL\pN._%+-]+@[\pL\pN-]+(?:\.[\pL\pN-]+)*\.\pL{2,}"),
    "iban": Shape(pattern=r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b", check=_is_iban),
    # Without spaces, in groups of four, or grouped as on American Express cards (4-6-5).
    "card": Shape(
        pattern=r"\b[0-9]{13,19}\b|\b[0-9]{4}(?:[ -][0-9]{4}){3,}(?:[ -][0-9]{1,3})?\b"
        r"|\b3[47][0-9]{2}[ -][0-9]{6}[ -][0-9]{5}\b",
        check=_is_card,
    ),
    "ip": Shape(
        pattern=r"\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b|(?:[0-9a-fA-F]{0,4}:){2,7}(?:(?:[0-9]{1,3}\.){3}[0-9]{1,3}|[0-9a-fA-F]{0,4})",
        check=_is_ip,
    ),
    "phone": Shape(
        pattern=r"\+[0-9]{1,3}(?:[ ./-]?\(?[0-9]{1,5}\)?){2,6}\b|\(?\b[0-9]{3}\)?[ .-][0-9]{3}[ .-][0-9]{4}\b",
        check=_is_phone,
    ),
}


# --- Names of fields ---------------------------------------------------------------------

_FIELDS = frozenset(
    """
    authorization proxyauthorization xapikey apikey xgoogapikey cookie setcookie xauthtoken accesstoken refreshtoken
    idtoken authtoken sessiontoken clientsecret secret secretkey secretaccesskey password passwd passphrase privatekey
    credentials apitoken bearertoken authorizationtoken xcsrftoken xamzsecuritytoken
    """.split()
)
_ENDINGS = ("apikey", "accesstoken", "refreshtoken", "password", "clientsecret", "secretkey", "authtoken", "apitoken")


def plain_name(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def is_secret_field(name: str, more: frozenset[str]) -> bool:
    """Whether a field's name makes its value a secret. ``more`` are plain names from the settings."""
    plain = plain_name(name)
    return plain in _FIELDS or plain in more or plain.endswith(_ENDINGS)
