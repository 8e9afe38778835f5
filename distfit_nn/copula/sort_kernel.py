"""Columns sorted with their places, by sorting one 64-bit key a value.

A key holds, in its high bits, the bits of a value turned so that they sort as whole numbers, and in
its low bits the row of the value. A float32 has 32 bits for either. Of a float64 the lowest bits
are given up for the row: what that leaves in disorder is put in order after.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from distfit_nn._floats import bits32, bits64, of_bits32
from distfit_nn.copula.vector_math import compiled

SIGN32, HALF32, ALL32 = np.uint32(1 << 31), np.uint64(32), np.uint64((1 << 32) - 1)
SIGN64 = np.uint64(1 << 63)
TILE = 16  # rows and columns that are turned at once: 16 float32 are a line of memory
AHEAD = 3 * TILE  # rows between one that is turned and one that is asked for
PATIENCE = 16  # moves a value after which a column is sorted anew


@intrinsic
def _prefetch(_typing, array, _i, _j):  # type: ignore[no-untyped-def]
    """Ask for the line of memory that holds an entry."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kind = signature.args[0]
        inside = context.make_array(kind)(context, builder, arguments[0])
        pointer = cgutils.get_item_pointer(context, builder, kind, inside, arguments[1:])
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        shape = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        ask = cgutils.get_or_insert_function(builder.module, shape, "llvm.prefetch.p0")
        read, near, data = word(0), word(3), word(1)
        builder.call(ask, [builder.bitcast(pointer, byte), read, near, data])
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64), generate


@compiled
def copy_columns(x, first, tile, columns):  # type: ignore[no-untyped-def]
    """Write columns first, first + 1, ... of x (n, d) to the rows of `columns` (m, n)."""
    m, n = columns.shape
    for low in range(0, m, TILE):
        for at in range(0, n, TILE):
            if low + TILE <= m and at + TILE <= n:
                for i in range(at + AHEAD, min(at + AHEAD + TILE, n)):
                    _prefetch(x, i, first + low)  # type: ignore[call-arg]
                for i in range(TILE):
                    for j in range(TILE):
                        tile[i, j] = x[at + i, first + low + j]
                for j in range(TILE):
                    for i in range(TILE):
                        columns[low + j, at + i] = tile[i, j]
                continue
            for i in range(at, min(at + TILE, n)):
                for j in range(low, min(low + TILE, m)):
                    columns[j, i] = x[i, first + j]


@compiled
def copy_back(columns, factors, terms, first, tile, x):  # type: ignore[no-untyped-def]
    """Write the rows of `columns` (m, n) to columns first, first + 1, ... of x (n, d).

    Each times its factor plus its term (m,).
    """
    m, n = columns.shape
    for low in range(0, m, TILE):
        for at in range(0, n, TILE):
            if low + TILE <= m and at + TILE <= n:
                for i in range(at + AHEAD, min(at + AHEAD + TILE, n)):
                    _prefetch(x, i, first + low)  # type: ignore[call-arg]
                for j in range(TILE):
                    for i in range(TILE):
                        tile[i, j] = columns[low + j, at + i]
                for i in range(TILE):
                    for j in range(TILE):
                        x[at + i, first + low + j] = tile[i, j] * factors[low + j] + terms[low + j]
                continue
            for i in range(at, min(at + TILE, n)):
                for j in range(low, min(low + TILE, m)):
                    x[i, first + j] = columns[j, i] * factors[j] + terms[j]


@compiled
def copy_channels(x, first, columns):  # type: ignore[no-untyped-def]
    """Write channels first, first + 1, ... of x (N, d, L) to the rows of `columns` (m, N L)."""
    length = x.shape[2]
    for j in range(len(columns)):
        for i in range(len(x)):
            part, row = x[i, first + j], columns[j, i * length : (i + 1) * length]
            for k in range(length):
                row[k] = part[k]


@compiled
def copy_channels_back(columns, factors, terms, first, x):  # type: ignore[no-untyped-def]
    """Write the rows of `columns` (m, N L), times factor plus term, to channels of x (N, d, L)."""
    length = x.shape[2]
    for j in range(len(columns)):
        factor, term = factors[j], terms[j]
        for i in range(len(x)):
            part, out = columns[j, i * length : (i + 1) * length], x[i, first + j]
            for k in range(length):
                out[k] = part[k] * factor + term


@compiled
def take(rows, order, values):  # type: ignore[no-untyped-def]
    """Write rows (m, n) in their order."""
    m, n = rows.shape
    for j in range(m):
        for i in range(n):
            values[j, i] = rows[j, np.uint64(order[j, i])]


@compiled
def keys32(columns, keys, bad):  # type: ignore[no-untyped-def]
    """Write the keys of float32 columns (m, n), and which of them hold a NaN."""
    m, n = columns.shape
    for j in range(m):
        nan = False
        for i in range(n):
            value = columns[j, i] + np.float32(0.0)  # -0 becomes 0: they are equal
            nan |= value != value
            bits = np.uint32(bits32(value))
            flip = ~np.uint32(0) if bits & SIGN32 else SIGN32
            keys[j, i] = (np.uint64(bits ^ flip) << HALF32) | np.uint64(i)
        bad[j] = nan


@compiled
def sorted32(columns, keys, order):  # type: ignore[no-untyped-def]
    """Write the order that sorted keys hold (m, n), and the columns in that order, in place."""
    m, n = keys.shape
    for j in range(m):
        for i in range(n):
            order[j, i] = keys[j, i] & ALL32
        for i in range(n):
            bits = np.uint32(keys[j, i] >> HALF32)
            flip = SIGN32 if bits & SIGN32 else ~np.uint32(0)
            columns[j, i] = of_bits32(bits ^ flip)


@compiled
def keys64(columns, index_bits, keys, bad):  # type: ignore[no-untyped-def]
    """Write the keys of float64 columns (m, n), and which of them hold a NaN."""
    m, n = columns.shape
    room = (np.uint64(1) << np.uint64(index_bits)) - np.uint64(1)
    for j in range(m):
        nan = False
        for i in range(n):
            value = columns[j, i] + 0.0
            nan |= value != value
            bits = np.uint64(bits64(value))
            flip = ~np.uint64(0) if bits & SIGN64 else SIGN64
            keys[j, i] = ((bits ^ flip) & ~room) | np.uint64(i)
        bad[j] = nan


@compiled
def sorted64(columns, index_bits, keys, order, ordered, failed):  # type: ignore[no-untyped-def]
    """Write the order that sorted keys hold (m, n), and the columns in that order.

    Values that differ only in the bits given up are moved to their places; columns in which that
    takes too long are marked as failed.
    """
    m, n = keys.shape
    room = (np.uint64(1) << np.uint64(index_bits)) - np.uint64(1)
    for j in range(m):
        for i in range(n):
            order[j, i] = keys[j, i] & room
            ordered[j, i] = columns[j, order[j, i]]
        moves = 0
        for i in range(1, n):
            if not ordered[j, i] < ordered[j, i - 1]:
                continue
            value, row = ordered[j, i], order[j, i]
            k = i
            while k > 0 and value < ordered[j, k - 1]:
                ordered[j, k], order[j, k] = ordered[j, k - 1], order[j, k - 1]
                k -= 1
            ordered[j, k], order[j, k] = value, row
            moves += i - k
            if moves > PATIENCE * n:
                break
        failed[j] = moves > PATIENCE * n
