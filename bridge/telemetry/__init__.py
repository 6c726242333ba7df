"""Traces and metrics over OTLP, where the environment asks for them. `tracing.py` is what the other packages call.

Only `otlp.py` and `otlp_metrics.py` import OpenTelemetry, and only a process that exports imports them.
"""

from __future__ import annotations
