"""The program log: on the console, for people or as JSON, and optionally in rotating files.

Loggers append lines to a bounded buffer. A thread formats them and writes them in one piece, a few times per
second, and at once from level ``warning`` on; a slow terminal or disk costs log lines but never delays a client.
Every line passes the secret scrubber and the redactors.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache
from io import TextIOWrapper
from pathlib import Path
from traceback import TracebackException
from typing import Any

from proxy_core.errors import SetupError
from proxy_core.files import SAFE, private_folder
from proxy_core.jsons import dumps
from proxy_core.records.redact import WITHHELD, Redaction, SecretScrubber
from proxy_core.settings.schema import LogSettings

#: The id of the request that the current task belongs to.
REQUEST_ID: ContextVar[str] = ContextVar("proxy_core_request_id", default="-")

#: Lines in the buffer; further ones are dropped and counted.
_MAX_LINES = 10_000
#: An exception's message may hold a whole response.
_LONGEST_TRACE_LINE = 8192
#: Lines are collected for this long before they are written.
_COLLECT_S = 0.25
#: The thread formats this many lines before it lets the event loop run.
_SLICE = 40
#: Arguments of these types are put into a line's text by the thread.
_CONSTANTS = frozenset((str, int, float, bool, type(None)))
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
    console = logging.StreamHandler()
    console.setLevel(settings.level.upper())
    handlers: list[logging.Handler] = [console]
    suffix = f".{worker}" if worker else ""
    problems: list[str] = []
    if settings.folder is not None:
        handlers += _file(settings, settings.folder / f"proxy{suffix}.log", settings.level.upper(), problems)
    if settings.debug:
        handlers += _file(settings, (settings.folder or folder) / f"proxy_debug{suffix}.log", "DEBUG", problems)
    lines = _Buffer(_Json(clean) if settings.format == "json" else _Human(clean), handlers)
    root, ours = logging.getLogger(), logging.getLogger("proxy_core")
    before = root.handlers[:], root.level, ours.level
    hooks = sys.unraisablehook, threading.excepthook
    root.handlers[:] = [lines]
    root.setLevel(logging.WARNING)
    ours.setLevel(logging.DEBUG if settings.debug else settings.level.upper())
    logging.captureWarnings(True)
    sys.unraisablehook = _unexpected
    threading.excepthook = _unexpected
    lines.start()
    for problem in problems:
        ours.warning("%s", problem)
    try:
        with _lean_records():
            yield clean
    except SetupError:
        raise
    except Exception as error:  # unhandled; the interpreter would print it unredacted
        ours.critical("the program ends because of an unexpected error", exc_info=error)
        raise SystemExit(1) from None
    finally:
        lines.stop()
        logging.captureWarnings(False)
        root.handlers[:], root.level, ours.level = before
        sys.unraisablehook, threading.excepthook = hooks
        for handler in handlers:
            handler.close()


@contextmanager
def _lean_records() -> Iterator[None]:
    """Leave out what no line shows but each one would pay for: its caller, thread and process.

    These are the switches that Python's logging HOWTO names under "Optimization".
    """
    names = ("_srcfile", "logThreads", "logProcesses", "logMultiprocessing", "logAsyncioTasks")
    before = {name: getattr(logging, name) for name in names if hasattr(logging, name)}
    for name in before:
        setattr(logging, name, None)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(logging, name, value)


def _unexpected(failure: Any) -> None:
    """Log exceptions that the interpreter would print: in threads, and where they cannot be caught."""
    error = failure.exc_value or failure.exc_type()
    logging.getLogger("proxy_core").error("an unhandled exception", exc_info=error)


class _Buffer(logging.Handler):
    """Keeps lines until its thread writes them. A request only appends; the thread is woken once per batch."""

    def __init__(self, formatter: _Formatter, handlers: Sequence[logging.Handler]) -> None:
        super().__init__()
        self.dropped = 0
        self._reported = 0
        self._formatter = formatter
        self.keeps_facts = formatter.may_withhold
        self._handlers = handlers
        self._lines: deque[logging.LogRecord] = deque()
        self._filled = threading.Event()
        self._urgent = threading.Event()
        self._stopped = False
        self._slice = 1
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self.start, self.waiting = self._thread.start, self._lines.__len__

    def handle(self, record: logging.LogRecord) -> bool:
        """Only work that depends on the current context is done here."""
        if len(self._lines) >= _MAX_LINES:
            self.dropped += 1
            return False
        args = record.args
        if type(args) is not tuple or not _CONSTANTS.issuperset(map(type, args)):  # the others may change until then
            if args and self.keeps_facts():
                record.facts = _facts(record)
            record.msg, record.args = record.getMessage(), None
        record.request_id = REQUEST_ID.get()
        if record.exc_info and record.exc_info[1] is not None:
            # Now, because an error's frames are dropped when its request ends; they would also keep its body.
            error = record.exc_info[1]
            record.trace = TracebackException(type(error), error, error.__traceback__, lookup_lines=False)
            record.exc_info = None
        if threading.current_thread() is self._thread:  # about a redactor, which may hold up all the others
            self._lines.appendleft(record)
        else:
            self._lines.append(record)
        if not self._filled.is_set():
            self._filled.set()
        if record.levelno >= logging.WARNING:
            self._urgent.set()
        return True

    def stop(self) -> None:
        """Write what is left."""
        self._stopped = True
        self._filled.set()
        self._urgent.set()
        self._thread.join()
        self._write()

    def _run(self) -> None:
        while not self._stopped:
            self._filled.wait()
            self._urgent.wait(_COLLECT_S)
            self._filled.clear()  # first, so that a line that comes while the others are written counts again
            self._urgent.clear()
            self._write()

    def _write(self) -> None:
        while batch := self._batch():
            for handler in self._handlers:
                text = "\n".join(line for level, line in batch if level >= handler.level)
                if text:
                    handler.handle(logging.makeLogRecord({"msg": text}))

    def _batch(self) -> list[tuple[int, str]]:
        """The level and text of the oldest lines: of one at first and after a slow redactor, so that it is written."""
        batch: list[tuple[int, str]] = []
        while self._lines and len(batch) < _MAX_LINES:
            time.sleep(0)  # lets go of the interpreter's lock, for which requests would otherwise wait 5 ms
            began = time.monotonic()
            records = [self._lines.popleft() for _ in range(min(len(self._lines), self._slice))]
            batch += zip([record.levelno for record in records], self._formatter.lines(records), strict=True)
            self._slice = 1 if time.monotonic() - began > _COLLECT_S else min(2 * self._slice, _SLICE)
            if self._slice < _SLICE:
                break
        if self.dropped > self._reported:
            lost, self._reported = self.dropped - self._reported, self.dropped
            text = f"{lost} log lines were dropped: the log could not be written fast enough"
            note = {"msg": text, "name": "proxy_core.log", "levelno": logging.WARNING, "levelname": "WARNING"}
            batch.insert(0, (logging.WARNING, self._formatter.lines([logging.makeLogRecord(note)])[0]))
        return batch


def _buffers() -> Iterator[_Buffer]:
    return (handler for handler in logging.getLogger().handlers if isinstance(handler, _Buffer))


def dropped_lines() -> int:
    """Number of lines that were dropped because the writer was behind."""
    return sum(buffer.dropped for buffer in _buffers())


def waiting_lines() -> int:
    """Number of lines that are waiting to be written."""
    return sum(buffer.waiting() for buffer in _buffers())


class ProgramLog:
    """The filters of every line. ``redaction`` may be replaced between two lines."""

    def __init__(self, scrub: SecretScrubber, redaction: Redaction) -> None:
        self._scrub = scrub
        self.redaction = redaction

    def texts(self, records: Sequence[logging.LogRecord]) -> Sequence[str]:
        """For each record, the request id, which a client may have chosen, and the message; cleaned."""
        redaction = self.redaction
        if any(hasattr(r, "names_only") for r in records):
            return [text for r in records for text in self._text_of(r, redaction)]
        texts = [text for r in records for text in (getattr(r, "request_id", "-"), _message(r, redaction))]
        cleaned = self._clean("\n".join(texts), redaction).split("\n")  # together, as that costs a tenth
        if len(cleaned) != len(texts):  # one has several lines, or a redactor replaced more than a part of one
            return [text for r in records for text in self._text_of(r, redaction)]
        return [_visible(text) for text in cleaned]

    def _text_of(self, record: logging.LogRecord, redaction: Redaction) -> Iterator[str]:
        """The request id and the message of one record. No redactor can withhold ids, numbers or names of functions."""
        request_id, message = getattr(record, "request_id", "-"), _message(record, redaction)
        clean = self._clean(request_id, redaction)
        yield _visible(self._scrub.text(request_id) if clean == WITHHELD else clean)
        clean = self._scrub.text(message) if hasattr(record, "names_only") else self._clean(message, redaction)
        if clean == WITHHELD:
            clean = getattr(record, "facts", None) or (_facts(record) if record.args else WITHHELD)
        yield _visible(clean)

    def trace(self, error: TracebackException) -> str:
        """Frames and types.

        Messages may contain a prompt; they are included only if a redactor cleans them.
        """
        redaction = self.redaction  # one snapshot: it decides whether messages may be shown, and cleans them
        text = self._clean("".join(error.format()), redaction) if redaction.installed else WITHHELD
        if text == WITHHELD:
            return self.stack("".join(_frames_and_types(error, set())))
        return _indented(text)

    def stack(self, text: str) -> str:
        """Lines that name nothing but files and functions: no redactor can withhold them."""
        return _indented(self._scrub.text(text))

    def _clean(self, text: str, redaction: Redaction) -> str:
        # Before the redactors too: one that matches half of a secret would leave the other half.
        text = self._scrub.text(text)
        redacted = redaction.text(text)
        return text if redacted == text else self._scrub.text(redacted)


def _indented(text: str) -> str:
    """So that no line looks like a log line."""
    return "\n".join("  " + _visible(line) for line in text.rstrip("\n").split("\n"))


def _visible(text: str) -> str:
    return text if text.isprintable() else text.translate(_CONTROLS)


def _facts(record: logging.LogRecord) -> str:
    """What a line of the core says without its texts: they are withheld if a redactor fails."""
    is_ours = record.name.startswith("proxy_core.") and not record.name.startswith("proxy_core.plugin.")
    if is_ours and isinstance(record.args, tuple):
        with suppress(TypeError, ValueError):
            kept = tuple(arg if isinstance(arg, int | float) else arg and "[withheld]" for arg in record.args)
            return f"{record.msg % kept} {WITHHELD}"
    return WITHHELD


def _message(record: logging.LogRecord, redaction: Redaction) -> str:
    text = record.getMessage()
    if record.name == "asyncio" and not redaction.installed:
        # asyncio logs tasks and callbacks with their arguments and exception messages.
        text = re.split(r"[\n(<{]", text, maxsplit=1)[0]
    return text


def _frames_and_types(error: TracebackException, seen: set[int]) -> Iterator[str]:
    """A traceback without exception messages; ``seen`` ends a cyclic chain."""
    seen.add(id(error))
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and id(cause) not in seen:
        yield from _frames_and_types(cause, seen)
        yield "which led to:\n"
    yield from error.stack.format()
    for inner in error.exceptions or ():
        yield from _frames_and_types(inner, seen)
        yield "which is part of:\n"
    yield f"{_type_of(error)} (message withheld: no redactor cleaned it)\n"


def _type_of(error: TracebackException) -> str:
    name = "exc_type_str" if sys.version_info >= (3, 13) else "exc_type"  # the older name warns
    kind = getattr(error, name)
    return kind if isinstance(kind, str) else str(kind.__qualname__)


class _Formatter:
    """Lines of the log, each without the newline at its end."""

    def __init__(self, clean: ProgramLog) -> None:
        self._clean = clean

    def may_withhold(self) -> bool:
        return self._clean.redaction.installed

    def lines(self, records: Sequence[logging.LogRecord]) -> list[str]:
        try:
            texts = self._clean.texts(records)
            return [self._line(record, *texts[2 * n : 2 * n + 2]) for n, record in enumerate(records)]
        except Exception as error:  # the thread that writes the log must not end with it
            if len(records) > 1:
                return [line for record in records for line in self.lines([record])]
            return [f"a log line of {records[0].name} could not be formatted ({type(error).__name__})"]

    def _line(self, record: logging.LogRecord, request_id: str, message: str) -> str:
        raise NotImplementedError


@lru_cache(maxsize=2)
def _local_time(second: int) -> str:
    return datetime.fromtimestamp(second).strftime("%Y-%m-%d %H:%M:%S")


class _Human(_Formatter):
    def _line(self, record: logging.LogRecord, request_id: str, message: str) -> str:
        line = f"{_local_time(int(record.created))} {record.levelname:7} [{request_id}] {record.name}: {message}"
        error, stack = getattr(record, "trace", None), getattr(record, "stack", "")
        more = [self._clean.trace(error)] if error is not None else [self._clean.stack(stack)] if stack else []
        return "\n".join([line, *more])


class _Json(_Formatter):
    def _line(self, record: logging.LogRecord, request_id: str, message: str) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "request_id": request_id,
            "message": message,
        }
        error = getattr(record, "trace", None)
        if error is not None:
            line["exception"] = self._clean.trace(error)
        if stack := getattr(record, "stack", ""):
            line["stack"] = self._clean.stack(stack)
        return dumps(line).decode()


class _PrivateFile(logging.handlers.RotatingFileHandler):
    """A rotating file that only its owner can read. A batch of lines larger than a file goes into several."""

    def emit(self, record: logging.LogRecord) -> None:
        piece = ""
        for line in record.getMessage().split("\n"):
            if piece and self.maxBytes and len(piece) + len(line) + 2 > self.maxBytes:
                super().emit(logging.makeLogRecord({"msg": piece}))
                piece = ""
            piece = f"{piece}\n{line}" if piece else line
        super().emit(logging.makeLogRecord({"msg": piece}))

    def _open(self) -> TextIOWrapper:
        return os.fdopen(
            os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND | SAFE, 0o600), "a", encoding="utf-8"
        )


def _file(settings: LogSettings, path: Path, level: str, problems: list[str]) -> list[logging.Handler]:
    """Nothing where the file cannot be written, which is a problem but keeps no proxy from serving."""
    most, kept = settings.max_file_bytes, settings.max_files - 1
    try:
        private_folder(path.parent)
        handler = _PrivateFile(path, maxBytes=most, backupCount=kept, encoding="utf-8")
    except OSError as error:
        problems.append(f"log.folder: {path} cannot be written ({error.strerror}); the log is on the console only")
        return []
    handler.setLevel(level)
    return [handler]
