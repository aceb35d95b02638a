"""From a stage's Metrics to plain values that JSON and typed columns take."""

import dataclasses
import math
from typing import Any

import numpy as np

from daemon.pipeline.result import MetricValue


def plain_metrics(metrics: Any) -> tuple[dict[str, MetricValue], tuple[str, ...]]:
    """Return values by column, and a warning for each that is no number and counts as unknown.

    Raises TypeError for what no column can hold.
    """
    values: dict[str, MetricValue] = {}
    warnings = []
    for field in dataclasses.fields(metrics):
        value = getattr(metrics, field.name)
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, float) and not math.isfinite(value):
            warnings.append(f"{field.name} came out as {value}: it is unknown")
            value = None
        if value is not None and not isinstance(value, float | int | str):
            raise TypeError(f"{type(metrics).__name__}.{field.name} is a {type(value).__name__}")
        values[field.name] = value
    return values, tuple(warnings)
