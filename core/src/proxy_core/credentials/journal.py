"""The journal of a token refresh: its intent, and the server's response before anything uses it.

A rotating refresh token is worthless once it has been sent and its successor is lost. So the
intent is durable before the request is sent, and the raw response is written before it is
parsed. Any process that finds the journal resumes from there.
"""

from __future__ import annotations

import base64
import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

from msgspec import Struct
from pydantic import SecretStr

from proxy_core.credentials.encryption import PLAIN, Encryption, Locked
from proxy_core.credentials.stored import LockedFile, digest
from proxy_core.files import SAFE, sync_folder
from proxy_core.interfaces import HttpResponse, Tokens
from proxy_core.jsons import loads
from proxy_core.messages import repr_without

#: Space for the response is allocated together with the intent, so that a disk that fills up in between is harmless.
_ROOM = 32 * 1024


class Entry(Struct, frozen=True, kw_only=True):
    """``token`` is the digest of the refresh token, ``since`` when it was first sent without a response on record."""

    __repr__ = repr_without("tokens")

    token: str
    since: datetime
    answer: HttpResponse | None = None
    tokens: Tokens | None = None
    answered_at: datetime | None = None


class Journal:
    """The journal of one credential. Use it only while holding the credential's lock."""

    def __init__(self, path: Path, encryption: Encryption = PLAIN) -> None:
        self.path = path
        self._encryption = encryption
        self._descriptor: int | None = None
        self._at = 0

    def read(self) -> Entry | None:
        """Read what a killed process left behind. An unfinished line is ignored. Raises ``OSError``, ``LockedFile``."""
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return None
        try:
            intent = loads(lines[0])
            entry = Entry(token=intent["token"], since=datetime.fromisoformat(intent["since"]))
        except (ValueError, KeyError, TypeError):
            # The write was interrupted before it was durable, so nothing was sent.
            return None
        try:
            return _outcome(entry, loads(self._encryption.decrypted(lines[1])))
        except Locked as error:
            raise LockedFile(self.path, str(error)) from error
        except (ValueError, KeyError, TypeError, IndexError):
            return entry

    def begin(self, refresh_token: SecretStr, since: datetime) -> None:
        """Write the intent durably; the token may be sent only after this returns. Raises ``OSError``."""
        self.close()
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | SAFE, 0o600)
        try:
            if hasattr(os, "fchmod"):
                os.fchmod(descriptor, 0o600)
            intent = json.dumps({"token": digest(refresh_token), "since": since.isoformat(), "pid": os.getpid()})
            line = intent.encode() + b"\n"
            _write(descriptor, line + b" " * _ROOM, 0)
            os.fsync(descriptor)
            sync_folder(self.path.parent)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor, self._at = descriptor, len(line)

    def write_answer(self, answer: HttpResponse, at: datetime) -> None:
        """Write the raw response. It survives the process when this returns, and a power cut after :meth:`sync`."""
        kept = {name: value for name, value in answer.headers.items() if name in ("content-type", "date")}
        body = base64.b64encode(answer.body).decode()
        self._add({"status": answer.status, "headers": kept, "body": body, "at": at.isoformat()})

    def write_tokens(self, tokens: Tokens, at: datetime) -> None:
        """Like :meth:`write_answer`, for a refresher whose token request was not recognized as one."""
        hidden = {k: v.get_secret_value() for k, v in tokens.details.items() if isinstance(v, SecretStr)}
        fields = {
            "access_token": tokens.access_token.get_secret_value(),
            "refresh_token": tokens.refresh_token.get_secret_value() if tokens.refresh_token else None,
            "expires_at": tokens.expires_at.isoformat() if tokens.expires_at else None,
            "identity": tokens.identity,
            "tier": tokens.tier,
            "details": {k: v for k, v in tokens.details.items() if isinstance(v, str)},
            "secret_details": hidden,
        }
        self._add({"tokens": fields, "at": at.isoformat()})

    def sync(self) -> None:
        """Raises ``OSError``."""
        if self._descriptor is not None:
            os.fsync(self._descriptor)

    def end(self) -> None:
        """Delete the journal after everything in it has been saved. Raises ``OSError``."""
        self.close()
        # If the file reappears after a power cut, its token no longer matches the stored one.
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _add(self, fields: dict[str, Any]) -> None:
        if self._descriptor is None:
            raise OSError("the journal is not open")
        line = self._encryption.encrypted(json.dumps(fields).encode())
        _write(self._descriptor, line + b"\n", self._at)


def _write(descriptor: int, data: bytes, at: int) -> None:
    os.lseek(descriptor, at, os.SEEK_SET)
    while data:
        data = data[os.write(descriptor, data) :]


def _outcome(entry: Entry, fields: dict[str, Any]) -> Entry:
    at = datetime.fromisoformat(fields["at"])
    if "tokens" in fields:
        return Entry(token=entry.token, since=entry.since, tokens=_tokens(fields["tokens"]), answered_at=at)
    answer = HttpResponse(fields["status"], fields["headers"], base64.b64decode(fields["body"]))
    return Entry(token=entry.token, since=entry.since, answer=answer, answered_at=at)


def _tokens(fields: dict[str, Any]) -> Tokens:
    hidden = {name: SecretStr(value) for name, value in fields["secret_details"].items()}
    return Tokens(
        access_token=SecretStr(fields["access_token"]),
        refresh_token=SecretStr(fields["refresh_token"]) if fields["refresh_token"] else None,
        expires_at=datetime.fromisoformat(fields["expires_at"]) if fields["expires_at"] else None,
        identity=fields["identity"],
        tier=fields["tier"],
        details={**fields["details"], **hidden},
    )
