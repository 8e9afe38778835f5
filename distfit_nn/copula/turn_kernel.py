"""Blocks of numbers turned from rows to lanes and back.

Columns are sorted and moved as rows, one after the other in memory, but swept side by side, one a
lane. From the one layout to the other go a few steps at a time, which stay in the nearest cache.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from distfit_nn.copula.sweep_kernel import LANES, VECTOR
from distfit_nn.copula.vector_math import compiled

BLOCK = 64  # steps; a multiple of LANES

Value = Any  # of llvmlite, which has no types


def _mixed(builder: Value, a: Value, b: Value, lanes: list[int]) -> Value:
    """Return chosen lanes of two vectors, those of the second counted on."""
    mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), lanes)
    return builder.shuffle_vector(a, b, mask)


def _turned(builder: Value, vectors: list[Value]) -> list[Value]:
    """Transpose a square of vectors: exchange its off-diagonal blocks of 4, of 2, and of 1."""
    vectors = list(vectors)
    for step in (4, 2, 1):
        lanes = range(LANES)
        upper = [lane if not lane & step else lane - step + LANES for lane in lanes]
        lower = [lane + step if not lane & step else lane + LANES for lane in lanes]
        for i in lanes:
            if not i & step:
                a, b = vectors[i], vectors[i + step]
                vectors[i] = _mixed(builder, a, b, upper)
                vectors[i + step] = _mixed(builder, a, b, lower)
    return vectors


@intrinsic
def _turn(_typing, source, _at, _stride, target, _to, _step):  # type: ignore[no-untyped-def]
    """Write the square of float64 at source[at], in rows `stride` apart, turned to target[to]."""

    def generate(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        def rows(kind: Value, array: Value, first: Value, stride: Value) -> list[Value]:
            data = context.make_array(kind)(context, builder, array).data
            places = [
                builder.add(first, builder.mul(stride, ir.Constant(stride.type, i)))
                for i in range(LANES)
            ]
            pointers = [builder.gep(data, [place]) for place in places]
            return [builder.bitcast(pointer, VECTOR.as_pointer()) for pointer in pointers]

        given = [builder.load(row, align=8) for row in rows(source, *arguments[:3])]
        for row, vector in zip(rows(target, *arguments[3:]), _turned(builder, given), strict=True):
            builder.store(vector, row, align=8)
        return context.get_dummy_value()

    whole = types.int64
    return types.void(source, whole, whole, target, whole, whole), generate


@compiled
def to_lanes(block, at, count, lanes):  # type: ignore[no-untyped-def]
    """Write the first `count` entries of the rows of a block (LANES, BLOCK) to lanes[at], ..."""
    for i in range(0, count, LANES):
        _turn(block, i, BLOCK, lanes, (at + i) * LANES, LANES)  # type: ignore[call-arg]


@compiled
def from_lanes(lanes, at, count, block):  # type: ignore[no-untyped-def]
    """Write lanes[at], ..., lanes[at + count - 1] to the rows of a block (LANES, BLOCK)."""
    for i in range(0, count, LANES):
        _turn(lanes, (at + i) * LANES, LANES, block, i, BLOCK)  # type: ignore[call-arg]
