"""Advice: `suggestion` is the face of `suggest`, over what compares maps and puts them in."""

from __future__ import annotations

TOLERANCE = 0.02  # nats that are not worth a less simple map: a mean off by 0.2 deviations
