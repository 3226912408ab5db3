"""Encode the metrics page with Prometheus's own library."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from proxy_core import Histogram, ProcessStatus
from proxy_plugin_prometheus.families import FAMILIES, Family


def encoded(statuses: Sequence[ProcessStatus], accept: str) -> tuple[bytes, str]:
    """The text in the format that ``accept`` asks for, and its media type. Takes milliseconds."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Workers(statuses))
    encode, media_type = choose_encoder(accept)
    return encode(registry), media_type


class _Workers(Collector):
    """Hand Prometheus's library the numbers that the core has counted."""

    def __init__(self, statuses: Sequence[ProcessStatus]) -> None:
        self._statuses = statuses

    def collect(self) -> Iterator[Metric]:
        for name, family in FAMILIES.items():
            yield _metric(name, family, self._statuses)
        yield GaugeMetricFamily("proxy_core_workers", "Processes that this page covers.", value=len(self._statuses))


def _metric(name: str, family: Family, statuses: Sequence[ProcessStatus]) -> Metric:
    labels = (*family.labels, "worker")
    metric: CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
    if family.kind == "histogram":
        metric = HistogramMetricFamily(name, family.help, labels=labels)
    elif family.kind == "counter":
        metric = CounterMetricFamily(name, family.help, labels=labels)
    else:
        metric = GaugeMetricFamily(name, family.help, labels=labels)
    for status in statuses:
        for values, value in family.samples(status):
            named = (*values, str(status.worker))
            if isinstance(metric, HistogramMetricFamily):
                assert isinstance(value, Histogram)  # as its family says
                metric.add_metric(named, _buckets(value), value.sum)
            else:
                assert isinstance(value, int | float)  # likewise
                metric.add_metric(named, value)
    return metric


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Prometheus's buckets are cumulative."""
    return list(zip([*map(str, histogram.bounds), "+Inf"], accumulate(histogram.counts), strict=True))
