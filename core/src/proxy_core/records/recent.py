"""The records of recent requests, in memory, for ``proxy-core explain``."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import islice

from proxy_core.interfaces import RequestRecord


class RecentRequests:
    """The newest ``most`` records by request id; of two with the same id, the later one."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: OrderedDict[str, RequestRecord] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def resize(self, most: int) -> None:
        """Change the number of records to keep."""
        self._most = most
        while len(self._known) > most:
            self._known.popitem(last=False)

    def keep(self, record: RequestRecord) -> None:
        if not self._most:
            return
        self._known.pop(record.id, None)
        self._known[record.id] = record
        if len(self._known) > self._most:
            self._known.popitem(last=False)

    def newest(self, most: int) -> Sequence[RequestRecord]:
        """At most ``most`` records, newest first."""
        return list(islice(reversed(self._known.values()), most))

    def all(self) -> Sequence[RequestRecord]:
        """Newest first."""
        return list(reversed(self._known.values()))

    def get(self, request_id: str) -> RequestRecord | None:
        return self._known.get(request_id)
