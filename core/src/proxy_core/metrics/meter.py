"""All that one process can say of itself, as plain values that fit into JSON."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from proxy_core.metrics.count import Counts
from proxy_core.metrics.families import Samples
from proxy_core.metrics.gauges import Gauges
from proxy_core.metrics.plugin_timing import PluginTimes


class Meter:
    """Counts of one process, and which worker of which program it is."""

    def __init__(self, counts: Counts, times: PluginTimes, gauges: Gauges) -> None:
        self.counts = counts
        self.times = times
        self.gauges = gauges
        #: Workers count from 1, and whoever replaces one has its number.
        self.worker = 1
        #: The process all workers of one program descend from; ``None``: there is only this one.
        self.parent: int | None = None

    def becomes(self, worker: int) -> None:
        """This process is one of several workers."""
        self.worker, self.parent = worker, os.getppid()

    def samples(self) -> Samples:
        return {name: found for part in self._parts() for name, found in part.samples().items()}

    def _parts(self) -> tuple[Counts, PluginTimes, Gauges]:
        return self.counts, self.times, self.gauges

    def said(self) -> Mapping[str, Any]:
        """What another worker is answered."""
        return {"parent": self.parent, "worker": self.worker, "samples": self.samples()}

    def merged(self, answers: Sequence[Mapping[str, Any]]) -> dict[int, Samples]:
        """Samples by worker: this one's, and those of its siblings. Strangers share the folder, not the page."""
        siblings = {a["worker"]: a["samples"] for a in answers if a["parent"] == self.parent}
        return dict(sorted({**siblings, self.worker: self.samples()}.items()))
