"""The program log: on the console, for people or as JSON, and optionally in rotating files.

Loggers put lines into a bounded queue; the standard library's listener thread formats and writes
them, so that a slow terminal or disk costs log lines but never delays a client. Every line passes
the secret scrubber and the redactors.
"""

from __future__ import annotations

import copy
import json
import logging
import logging.handlers
import os
import queue
import re
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from proxy_core.errors import SetupError
from proxy_core.records.redact import Redaction, SecretScrubber
from proxy_core.settings.schema import LogSettings

#: The id of the request that the current task belongs to.
REQUEST_ID: ContextVar[str] = ContextVar("proxy_core_request_id", default="-")

_QUEUE = 10_000
#: Newlines and other control characters in a message could forge log lines.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {0x2028: "\\u2028", 0x2029: "\\u2029"}


@contextmanager
def program_log(
    settings: LogSettings, *, folder: Path, scrub: SecretScrubber, redaction: Redaction, worker: int = 0
) -> Iterator[ProgramLog]:
    """Take over the process's logging for the block; ``folder`` is used unless settings name another.

    With several workers, each one writes its own files: ``proxy.1.log``, ``proxy.2.log``.
    """
    clean = ProgramLog(scrub, redaction)
    shown: logging.Formatter = _Json(clean) if settings.format == "json" else _Human(clean)
    console = logging.StreamHandler()
    console.setLevel(settings.level.upper())
    handlers: list[logging.Handler] = [console]
    suffix = f".{worker}" if worker else ""
    if settings.folder is not None:
        handlers.append(_file(settings, settings.folder / f"proxy{suffix}.log", settings.level.upper()))
    if settings.debug:
        handlers.append(_file(settings, (settings.folder or folder) / f"proxy_debug{suffix}.log", "DEBUG"))
    for handler in handlers:
        handler.setFormatter(shown)
    lines = _Queue()
    root, ours = logging.getLogger(), logging.getLogger("proxy_core")
    before = root.handlers[:], root.level, ours.level
    hooks = sys.unraisablehook, threading.excepthook
    root.handlers[:] = [lines]
    root.setLevel(logging.WARNING)
    ours.setLevel(logging.DEBUG if settings.debug else settings.level.upper())
    logging.captureWarnings(True)
    sys.unraisablehook = _unexpected
    threading.excepthook = _unexpected
    listener = _Listener(lines, *handlers)
    listener.start()
    try:
        yield clean
    except SetupError:
        raise
    except Exception as error:  # unhandled; the interpreter would print it unredacted
        ours.critical("the program ends because of an unexpected error", exc_info=error)
        raise SystemExit(1) from None
    finally:
        listener.stop()
        logging.captureWarnings(False)
        root.handlers[:], root.level, ours.level = before
        sys.unraisablehook, threading.excepthook = hooks
        for handler in handlers:
            handler.close()


def _unexpected(failure: Any) -> None:
    """Log exceptions that the interpreter would print: in threads, and where they cannot be caught."""
    error = failure.exc_value or failure.exc_type()
    logging.getLogger("proxy_core").error("an unhandled exception", exc_info=error)


class _Queue(logging.handlers.QueueHandler):
    """Passes lines to the writer; if it is behind, they are dropped and counted."""

    queue: queue.Queue[logging.LogRecord | None]

    def __init__(self) -> None:
        super().__init__(queue.Queue(_QUEUE))
        self.dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Only work that depends on the current context is done here; the writer does the rest."""
        ready = copy.copy(record)
        ready.msg, ready.args = record.getMessage(), None
        ready.request_id = REQUEST_ID.get()
        return ready

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1


def dropped_lines() -> int:
    """Number of lines that were dropped because the writer was behind."""
    return sum(handler.dropped for handler in logging.getLogger().handlers if isinstance(handler, _Queue))


def waiting_lines() -> int:
    """Number of lines that are waiting to be written."""
    return sum(handler.queue.qsize() for handler in logging.getLogger().handlers if isinstance(handler, _Queue))


class _Listener(logging.handlers.QueueListener):
    def __init__(self, lines: _Queue, *handlers: logging.Handler) -> None:
        super().__init__(lines.queue, *handlers, respect_handler_level=True)
        self._lines = lines
        self._told = 0

    def handle(self, record: logging.LogRecord) -> None:
        if self._lines.dropped > self._told:
            lost, self._told = self._lines.dropped - self._told, self._lines.dropped
            note = {
                "msg": f"{lost} log lines were dropped: the log could not be written fast enough",
                "name": "proxy_core.log",
            }
            super().handle(logging.makeLogRecord({**note, "levelno": logging.WARNING, "levelname": "WARNING"}))
        super().handle(record)

    def enqueue_sentinel(self) -> None:
        self._lines.queue.put(None)  # waits for space, so that queued lines are still written


class ProgramLog:
    """The filters of every line. ``redaction`` may be replaced between two lines."""

    def __init__(self, scrub: SecretScrubber, redaction: Redaction) -> None:
        self._scrub = scrub
        self.redaction = redaction

    def message(self, record: logging.LogRecord) -> str:
        text, redaction = record.getMessage(), self.redaction
        if record.name == "asyncio" and not redaction.installed:
            # asyncio logs tasks and callbacks with their arguments and exception messages.
            text = re.split(r"[\n(<{]", text, maxsplit=1)[0]
        return self._clean(text, redaction).translate(_CONTROLS)

    def request_id(self, record: logging.LogRecord) -> str:
        """The request id, which a client may have chosen."""
        return self._clean(getattr(record, "request_id", "-"), self.redaction)

    def trace(self, error: BaseException) -> str:
        """Frames and types, indented, so that no line looks like a log line.

        Messages may contain a prompt; they are included only if a redactor cleans them.
        """
        redaction = self.redaction  # one snapshot: it decides whether messages may be shown, and cleans them
        lines = traceback.format_exception(error) if redaction.installed else _frames_and_types(error, set())
        cleaned = self._clean("".join(lines), redaction).rstrip("\n").split("\n")
        return "\n".join("  " + line.translate(_CONTROLS) for line in cleaned)

    def _clean(self, text: str, redaction: Redaction) -> str:
        # Before the redactors too: one that matches half of a secret would leave the other half.
        text = self._scrub.text(text)
        return self._scrub.text(redaction.text(text))


def _frames_and_types(error: BaseException, seen: set[int]) -> Iterator[str]:
    """A traceback without exception messages; ``seen`` ends a cyclic chain."""
    seen.add(id(error))
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and id(cause) not in seen:
        yield from _frames_and_types(cause, seen)
        yield "which led to:\n"
    yield from traceback.format_tb(error.__traceback__)
    for inner in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
        yield from _frames_and_types(inner, seen)
        yield "which is part of:\n"
    yield f"{type(error).__qualname__} (message withheld: no redactor is installed)\n"


class _Formatter(logging.Formatter):
    """One instance for all handlers, so that a line is cleaned only once."""

    def __init__(self, clean: ProgramLog) -> None:
        super().__init__()
        self._clean = clean
        self._last: tuple[logging.LogRecord | None, str] = None, ""

    def format(self, record: logging.LogRecord) -> str:
        last, line = self._last
        if last is not record:
            line = self._line(record)
            self._last = record, line
        return line

    def _line(self, record: logging.LogRecord) -> str:
        raise NotImplementedError


class _Human(_Formatter):
    def _line(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created).strftime("%Y-%m-%d %H:%M:%S")
        line = (
            f"{at} {record.levelname:7} [{self._clean.request_id(record)}] {record.name}: {self._clean.message(record)}"
        )
        error = record.exc_info[1] if record.exc_info else None
        return f"{line}\n{self._clean.trace(error)}" if error is not None else line


class _Json(_Formatter):
    def _line(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "request_id": self._clean.request_id(record),
            "message": self._clean.message(record),
        }
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            line["exception"] = self._clean.trace(error)
        return json.dumps(line, ensure_ascii=False)


class _PrivateFile(logging.handlers.RotatingFileHandler):
    """A rotating file that only its owner can read."""

    def _open(self) -> TextIOWrapper:
        return os.fdopen(
            os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", encoding="utf-8"
        )


def _file(settings: LogSettings, path: Path, level: str) -> logging.Handler:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handler = _PrivateFile(path, maxBytes=settings.max_file_bytes, backupCount=settings.max_files - 1, encoding="utf-8")
    handler.setLevel(level)
    return handler
