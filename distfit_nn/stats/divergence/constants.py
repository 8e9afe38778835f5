"""Numbers of the standard normal law, in nats."""

from __future__ import annotations

import math

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
NORMAL_ENTROPY = HALF_LOG_2PI + 0.5  # of N(0, 1)
