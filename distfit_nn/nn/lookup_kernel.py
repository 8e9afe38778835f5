"""Compiled look-ups in the tables of columns: see `lookup_grid` and `lookup` for what is in them.

Sixteen values are taken at once. Where each is in the table of its column, and its cubic, are
vector operations; between them the four numbers of each value's cell, side by side in memory, are
loaded as one, and sixteen of these are turned into four vectors. The compiler is handed vectors
rather than a loop: it does not find this by itself, and takes five times as long.

Values lie in rows, one column beside the other, or in runs of one column. What is left over at the
end of a row or run is taken together with some that were taken before: both have LANES or more.

Arrays are handed over as addresses of float32 or float64, as `zero` is one: to make NumPy arrays of
tensors, and to find their types, takes longer than to look a small batch up.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from distfit_nn.nn.lookup_grid import CELL_RATE, EXPONENT, HEAD, OCTAVES, ONE, SIDE, TABLE, WITHIN

LANES = 16
SPAN = 256  # values whose slopes are kept at a time
TILE = 512  # columns whose tables stay in the second cache while rows go by

OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}
compiled = njit(**OPTIONS)
summing = njit(**OPTIONS, fastmath={"contract", "reassoc"})  # sums in any order, always the same

SHORT, WHOLE = ir.IntType(32), ir.IntType(64)
BITS = ir.VectorType(SHORT, LANES)
SINGLES = ir.VectorType(ir.FloatType(), LANES)

Value = Any  # of llvmlite, which has no types


def _whole(number: int) -> Value:
    return ir.Constant(WHOLE, number)


class _Code:
    """Shorthand for instructions on LANES numbers of one type."""

    def __init__(self, context: Value, builder: Value, dtype: Value) -> None:
        self.context, self.builder = context, builder
        self.number = context.get_data_type(dtype)
        self.vector = ir.VectorType(self.number, LANES)
        self.align = context.get_abi_sizeof(self.number)

    def pointer(self, address: Value, place: Value) -> Value:
        """Return where a number is in the memory that begins at an address."""
        base = self.builder.inttoptr(address, self.number.as_pointer())
        return self.builder.gep(base, [place])

    def load(self, pointer: Value, count: int = LANES) -> Value:
        """Return a vector of the numbers from a pointer on."""
        kind = ir.VectorType(self.number, count)
        wide = self.builder.bitcast(pointer, kind.as_pointer())
        return self.builder.load(wide, align=self.align)

    def spread(self, pointer: Value) -> Value:
        """Return a vector of one number in memory, again and again."""
        none = ir.Constant(self.vector, ir.Undefined)
        one = self.builder.insert_element(none, self.builder.load(pointer), ir.Constant(SHORT, 0))
        return self.mixed(one, none, [0] * LANES)

    def store(self, vector: Value, pointer: Value) -> None:
        """Write a vector from a pointer on."""
        wide = self.builder.bitcast(pointer, vector.type.as_pointer())
        self.builder.store(vector, wide, align=self.align)

    def mixed(self, a: Value, b: Value, lanes: list[int]) -> Value:
        """Return chosen lanes of two vectors, those of the second counted on."""
        mask = ir.Constant(ir.VectorType(SHORT, len(lanes)), lanes)
        return self.builder.shuffle_vector(a, b, mask)

    def all(self, number: float) -> Value:
        return ir.Constant(self.vector, [number] * LANES)

    def add(self, a: Value, b: Value) -> Value:
        return self.builder.fadd(a, b, flags=("contract",))

    def multiply(self, a: Value, b: Value) -> Value:
        return self.builder.fmul(a, b, flags=("contract",))

    def size(self, a: Value) -> Value:
        """Return abs(a)."""
        kind = ir.FunctionType(self.vector, [self.vector])
        name = f"llvm.fabs.v{LANES}f{8 * self.align}"
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(function, [a])

    def single_bits(self, a: Value) -> Value:
        """Return the bits of numbers as float32."""
        singles = a if self.vector == SINGLES else self.builder.fptrunc(a, SINGLES)
        return self.builder.bitcast(singles, BITS)

    def of_single_bits(self, bits: Value) -> Value:
        """Return numbers, given their bits as float32."""
        singles = self.builder.bitcast(bits, SINGLES)
        return singles if self.vector == SINGLES else self.builder.fpext(singles, self.vector)


def _places(code: _Code, u: Value, stride: int) -> tuple[Value, Value, Value, Value]:
    """Return where the cells of u begin, how far in them u is, 1 / their width, and if u < 0.

    The table of each lane's column begins `stride` numbers after that of the lane before.
    """
    builder = code.builder

    def kept(bits: Value, mask: int) -> Value:
        return builder.and_(bits, ir.Constant(BITS, [mask] * LANES))

    negative = builder.fcmp_ordered("<", u, code.all(0.0))
    far, end = code.add(code.size(u), code.all(1.0)), code.all(2.0**OCTAVES)
    bits = code.single_bits(builder.select(builder.fcmp_ordered("<", far, end), far, end))
    start = code.of_single_bits(kept(bits, -(1 << WITHIN)))
    rate = ir.Constant(BITS, [CELL_RATE] * LANES)
    narrow = code.of_single_bits(builder.sub(rate, kept(bits, EXPONENT)))
    t = code.multiply(builder.fsub(far, start), narrow)

    shift = ir.Constant(BITS, [WITHIN - 2] * LANES)  # four numbers a cell
    cell = kept(builder.lshr(bits, shift), -4)
    upper = [lane * stride - 4 * (ONE >> WITHIN) for lane in range(LANES)]
    lower = [first + 4 * SIDE for first in upper]
    base = builder.select(negative, ir.Constant(BITS, lower), ir.Constant(BITS, upper))
    return builder.add(cell, base), t, narrow, negative


def _cells(code: _Code, table: Value, places: Value) -> list[Value]:
    """Return the four numbers from each place of a table on, as four vectors.

    Every fourth value's cell goes into one vector; then the squares of 4 by 4 are turned.
    """
    builder = code.builder
    # Two places at a time leave the vectors: it is that which takes longest.
    pairs, pointers = builder.bitcast(places, ir.VectorType(WHOLE, LANES // 2)), []
    for i in range(LANES // 2):
        pair = builder.extract_element(pairs, ir.Constant(SHORT, i))
        for place in (builder.and_(pair, _whole(0xFFFFFFFF)), builder.lshr(pair, _whole(32))):
            pointers.append(builder.gep(table, [place]))

    def side_by_side(parts: list[Value]) -> Value:
        if len(parts) == 1:
            return parts[0]
        half = len(parts) // 2
        lanes = list(range(4 * len(parts)))
        return code.mixed(side_by_side(parts[:half]), side_by_side(parts[half:]), lanes)

    def picked(a: Value, b: Value, *lanes: int) -> Value:
        """Return four of the eight lanes of each four of a and of b."""
        each = [lane if lane < 4 else lane - 4 + LANES for lane in lanes]
        return code.mixed(a, b, [four + lane for four in range(0, LANES, 4) for lane in each])

    a, b, c, d = (
        side_by_side([code.load(pointer, 4) for pointer in pointers[j::4]]) for j in range(4)
    )
    turned = []
    for j in (0, 2):
        ab, cd = picked(a, b, j, 4 + j, j + 1, 5 + j), picked(c, d, j, 4 + j, j + 1, 5 + j)
        turned += [picked(ab, cd, 0, 1, 4, 5), picked(ab, cd, 2, 3, 6, 7)]
    return turned


def _cubic(code: _Code, t: Value, cells: list[Value]) -> tuple[Value, Value]:
    """Return c0 + c1 t + c2 t^2 + c3 t^3 and its slope; c2 = c3 = 0 where t > 1 can be.

    Where c1 is 0, too, an infinite t counts for nothing.
    """
    builder, (c0, c1, c2, c3) = code.builder, cells
    add, multiply, one = code.add, code.multiply, code.all(1.0)
    s = builder.select(builder.fcmp_ordered(">", t, one), one, t)
    level = builder.fcmp_ordered("==", c1, code.all(0.0))
    line = builder.select(level, c0, add(c0, multiply(c1, t)))
    value = add(line, multiply(multiply(s, s), add(c2, multiply(c3, s))))
    steeper = add(add(c2, c2), multiply(code.all(3.0), multiply(c3, s)))
    return value, add(c1, multiply(s, steeper))


def _look(in_rows: bool, slopes: bool) -> Any:
    """Return what looks LANES values x[i], ... up, of as many columns j, ..., or of one.

    It writes weight * value + bias to out[o], ...; or, with slopes, the values to out[o], ... and
    the slopes LANES + SPAN further on. All arrays are addresses, `zero` is a number of their type.
    """

    def look(_typing, zero, _x, _i, _packed, _columns, _j, _weight, _bias, _out, _o):  # type: ignore[no-untyped-def]
        def generate(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
            x, i, packed, columns, j, weight, bias, out, o = arguments[1:]
            code = _Code(context, builder, zero)
            read = code.load if in_rows else code.spread
            heads = [builder.add(j, builder.mul(columns, _whole(k))) for k in range(HEAD)]
            centre, inverse, shift = (read(code.pointer(packed, head)) for head in heads)
            away = builder.fsub(code.load(code.pointer(x, i)), centre)
            u = code.add(code.multiply(away, inverse), shift)

            first = builder.add(builder.mul(columns, _whole(HEAD)), builder.mul(j, _whole(TABLE)))
            places, t, narrow, negative = _places(code, u, TABLE if in_rows else 0)
            cells = _cells(code, code.pointer(packed, first), places)
            value, slope = _cubic(code, t, cells)
            if slopes:
                outward = code.multiply(code.multiply(slope, narrow), inverse)
                slope = builder.select(negative, builder.fneg(outward), outward)
                code.store(value, code.pointer(out, o))
                code.store(slope, code.pointer(out, builder.add(o, _whole(LANES + SPAN))))
            else:
                factor, rest = (read(code.pointer(part, j)) for part in (weight, bias))
                code.store(code.add(code.multiply(factor, value), rest), code.pointer(out, o))
            return context.get_dummy_value()

        return types.void(zero, *9 * (types.int64,)), generate

    return intrinsic(look)


_lines_of_row, _lines_of_run = _look(True, False), _look(False, False)
_slopes_of_row, _slopes_of_run = _look(True, True), _look(False, True)


@compiled
def rows(zero, x, first, last, columns, packed, weight, bias, y):  # type: ignore[no-untyped-def]
    """Write rows first, ..., last - 1 of y, each of LANES or more columns side by side."""
    for low in range(0, columns, TILE):
        for i in range(first, last):
            for k in range(low, min(low + TILE, columns), LANES):
                j = min(k, columns - LANES)
                at = i * columns + j
                _lines_of_row(zero, x, at, packed, columns, j, weight, bias, y, at)


@compiled
def runs(zero, x, first, last, columns, length, packed, weight, bias, y):  # type: ignore[no-untyped-def]
    """Write runs first, ..., last - 1 of y, each of LANES or more values of one column.

    One run of each column follows upon the other, again and again.
    """
    for r in range(first, last):
        for k in range(0, length, LANES):
            at = r * length + min(k, length - LANES)
            _lines_of_run(zero, x, at, packed, columns, r % columns, weight, bias, y, at)


@summing
def _through_row(values, slopes, g, weight, dx, by_weight, by_bias):  # type: ignore[no-untyped-def]
    for k in range(len(dx)):
        dx[k] = g[k] * weight[k] * slopes[k]
        by_weight[k] += np.float64(g[k]) * values[k]
        by_bias[k] += np.float64(g[k])


@summing
def _through_run(values, slopes, g, weight, dx):  # type: ignore[no-untyped-def]
    by_weight = by_bias = 0.0
    for k in range(len(dx)):
        dx[k] = g[k] * weight * slopes[k]
        by_weight += np.float64(g[k]) * values[k]
        by_bias += np.float64(g[k])
    return by_weight, by_bias


@compiled
def rows_back(zero, x, g, first, last, columns, packed, weight, dx, by_weight, by_bias):  # type: ignore[no-untyped-def]
    """Write the gradient of rows by x, and add those by weight and bias (columns,) up."""
    room = np.empty((2, LANES + SPAN), dx.dtype)
    to = room.ctypes.data
    for low in range(0, columns, SPAN):
        high = min(low + SPAN, columns)
        inside, cut = slice(LANES, LANES + high - low), slice(low, high)
        for i in range(first, last):
            for k in range(low, high, LANES):
                j = min(k, columns - LANES)
                _slopes_of_row(
                    zero, x, i * columns + j, packed, columns, j, 0, 0, to, LANES + j - low
                )
            here = slice(i * columns + low, i * columns + high)
            _through_row(
                room[0][inside],
                room[1][inside],
                g[here],
                weight[cut],
                dx[here],
                by_weight[cut],
                by_bias[cut],
            )


@compiled
def runs_back(zero, x, g, first, last, columns, length, packed, weight, dx, by_weight, by_bias):  # type: ignore[no-untyped-def]
    """Write the gradient of runs by x, and add those by weight and bias (columns,) up."""
    room = np.empty((2, LANES + SPAN), dx.dtype)
    to = room.ctypes.data
    for r in range(first, last):
        j = r % columns
        for low in range(0, length, SPAN):
            high = min(low + SPAN, length)
            inside = slice(LANES, LANES + high - low)
            for k in range(low, high, LANES):
                at = min(k, length - LANES)
                _slopes_of_run(
                    zero, x, r * length + at, packed, columns, j, 0, 0, to, LANES + at - low
                )
            here = slice(r * length + low, r * length + high)
            sums = _through_run(room[0][inside], room[1][inside], g[here], weight[j], dx[here])
            by_weight[j] += sums[0]
            by_bias[j] += sums[1]
