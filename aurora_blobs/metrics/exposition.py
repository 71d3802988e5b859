"""What was measured, in Prometheus' text format.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.registry import Collector

from aurora_blobs.metrics.families import Distribution, Family, Measured

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition(measured: Iterable[Measured | Distribution]) -> bytes:
    """*measured* as text."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Metrics(measured))
    return generate_latest(registry)


class _Metrics(Collector):
    def __init__(self, measured: Iterable[Measured | Distribution]) -> None:
        self._measured = measured

    def collect(self) -> Iterator[Metric]:
        found: dict[Family, Metric] = {}
        for measured in self._measured:
            family = measured.family
            if family not in found:
                meaning = family.meaning.replace("`", "")
                found[family] = Metric(family.name.removesuffix("_total"), meaning, family.kind)
            _add(found[family], measured)
        yield from found.values()


def _add(metric: Metric, measured: Measured | Distribution) -> None:
    family = measured.family
    labels = dict(zip(family.labels, measured.labels, strict=True))
    if isinstance(measured, Measured):
        metric.add_sample(family.name, labels, measured.value)
        return
    bounds = [*map(str, measured.bounds), "+Inf"]
    for bound, count in zip(bounds, measured.counts, strict=True):
        metric.add_sample(f"{family.name}_bucket", {**labels, "le": bound}, count)
    metric.add_sample(f"{family.name}_count", labels, measured.counts[-1])
    metric.add_sample(f"{family.name}_sum", labels, measured.sum)
