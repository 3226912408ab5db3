"""JSON lines in rotating files with mode 0600, limited by size, count and age."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from pydantic import Field

from proxy_core import PluginSettings, private_folder

_MIB = 1024 * 1024

_DAY_S = 86_400.0
#: A file younger than this may still be written to by another worker.
_IN_USE_S = 60.0


class JsonLinesSettings(PluginSettings):
    """``[plugins.jsonl]``; ``[records] enabled`` switches records on."""

    folder: Path | None = Field(None, description="Folder for the files; unset: ``plugins/jsonl`` in the data folder.")
    max_file_bytes: int = Field(64 * _MIB, ge=1024, description="Size at which a new file is started.")
    max_files: int = Field(10, ge=1, description="How many files to keep; older ones are deleted.")
    max_age_days: float = Field(7, gt=0, description="Files not written to for this long are deleted.")


class JsonLines:
    """Writes in a single thread. Each process has its own files: ``requests-<time>-<pid>-<n>.jsonl``.

    ``folder`` is asked for when the first file is written, as it may create the folder.
    """

    def __init__(self, folder: Callable[[], Path], settings: JsonLinesSettings) -> None:
        self._find_folder = folder
        self._settings = settings
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="jsonl")
        self._file: int | None = None
        self._path = Path()
        self._size = 0
        self._number = 0

    async def write(self, lines: Sequence[bytes]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._write, lines)

    async def close(self) -> None:
        self._thread.submit(self._end)
        self._thread.shutdown(wait=False)

    def _write(self, lines: Sequence[bytes]) -> None:
        data = b"\n".join(lines) + b"\n"
        if self._file is None or self._size + len(data) > self._settings.max_file_bytes:
            self._next_file()
        assert self._file is not None
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]
        self._size += len(data)

    def _next_file(self) -> None:
        self._end()
        folder = self._find_folder()
        private_folder(folder)
        self._file = self._created(folder)
        self._size = 0
        self._prune(folder)

    def _created(self, folder: Path) -> int:
        """A new file. In a shared folder, another user could have planted a file or a link under this name."""
        while True:
            self._number += 1
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
            self._path = folder / f"requests-{stamp}-{os.getpid()}-{self._number:04}.jsonl"
            with suppress(FileExistsError):
                return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

    def _prune(self, folder: Path) -> None:
        files = sorted(folder.glob("requests-*.jsonl"))
        kept = len(files)
        for file in files:
            try:
                age_s = time.time() - file.stat().st_mtime
                if file == self._path or (age_s < _IN_USE_S and not self._mine(file)):
                    continue
                if age_s > self._settings.max_age_days * _DAY_S or kept > self._settings.max_files:
                    file.unlink()
                    kept -= 1
            except FileNotFoundError:
                kept -= 1  # another worker has deleted it

    def _mine(self, file: Path) -> bool:
        return file.name.split("-")[2] == str(os.getpid())

    def _end(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
