"""The page, written by Prometheus's own library, which is imported when a page is first asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from proxy_core.metrics.families import FAMILIES, Family, Samples

if TYPE_CHECKING:
    from prometheus_client import Metric


def page(workers: Mapping[int, Samples], accept: str) -> tuple[bytes, str]:
    """The text and its media type, as ``accept`` wants it. Takes milliseconds: not for the event loop."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import choose_encoder

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(workers))
    encode, media_type = choose_encoder(accept)
    return encode(registry), media_type


class _Collector:
    """A collector of Prometheus's library, over numbers that were counted elsewhere."""

    def __init__(self, workers: Mapping[int, Samples]) -> None:
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily

        for name, family in FAMILIES.items():
            metric, add = _metric(name, family)
            for worker, samples in self._workers.items():
                for labels, value in samples.get(name, ()):
                    add((*labels, str(worker)), value)
            yield metric
        yield GaugeMetricFamily("proxy_core_workers", "Processes this page speaks of.", value=len(self._workers))


def _metric(name: str, family: Family) -> tuple[Metric, Any]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    labels = (*family.labels, "worker")
    if family.kind == "counter":
        counter = CounterMetricFamily(name, family.help, labels=labels)
        return counter, counter.add_metric
    if family.kind == "gauge":
        gauge = GaugeMetricFamily(name, family.help, labels=labels)
        return gauge, gauge.add_metric
    histogram = HistogramMetricFamily(name, family.help, labels=labels)
    bounds = [*map(str, family.bounds), "+Inf"]

    def add(values: Sequence[str], row: Sequence[float]) -> None:
        *counts, total = row
        histogram.add_metric(values, list(zip(bounds, accumulate(counts), strict=True)), total)

    return histogram, add
