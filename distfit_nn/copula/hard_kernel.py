"""Mid-ranks of sorted columns, and what they are mapped to."""

from __future__ import annotations

from distfit_nn.copula.vector_math import compiled


@compiled
def look_up(ordered, order, bad, table, out):  # type: ignore[no-untyped-def]
    """Write table[2 r - 1], r being the mid-rank of each value of sorted columns (m, n).

    To where the value came from.

    Equal values at places a, ..., b - 1 share the rank (a + b) / 2, from 1/2 to n - 1/2. A column
    with a NaN becomes NaN.
    """
    m, n = ordered.shape
    for j in range(m):
        if bad[j]:
            out[j, :] = float("nan")
            continue
        first = 0
        while first < n:
            end = first + 1
            while end < n and ordered[j, end] == ordered[j, first]:
                end += 1
            value = table[first + end - 1]
            for i in range(first, end):
                out[j, order[j, i]] = value
            first = end
