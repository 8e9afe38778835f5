"""Sums of exponentials over sorted points, up and down, eight chains at a time.

A chain is a run of sorted points u_0 <= u_1 <= ...; ratio_i = exp(-(u_i - u_{i-1})), with 0 where
no point precedes. Lane l of row i of an array (steps, LANES) belongs to point i of chain l. The
states at point i are, on the way up,

    A_k = sum_{j < i} exp(-k (u_i - u_j)),     D_k = sum_{j < i} (g_i - g_j) exp(-k (u_i - u_j)),

and the same with j > i on the way down. From one point to the next, r = ratio_i and with the rise
g_i - g_{i-1},

    A_k <- r^k (A_k + 1),     D_k <- r^k D_k + rise A_k,

so that nothing is subtracted but neighbouring g: however far these are from 0, D has the digits of
its terms. A state array (rows, LANES) holds K rows A, and where there are g as many D; it is read
at the start and written at the end, so that a sweep can go on where another has ended.

The compiler is handed vectors rather than loops to find them in: what it makes of them is one
instruction on each eight lanes, or on four or two where the machine's vectors are shorter. The
number of terms K is that of the tuple of coefficients, hence known to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 8
NUMBER = ir.DoubleType()
VECTOR = ir.VectorType(NUMBER, LANES)
FUSED = ("contract",)

Value = Any  # of llvmlite, which has no types
Step = Callable[..., None]


class _Code:
    """Shorthand for the instructions of one sweep."""

    def __init__(self, context: Value, builder: Value) -> None:
        self.context, self.builder = context, builder

    def rows(self, kind: Value, array: Value) -> Value:
        """Return a pointer to the first vector of an array."""
        data = self.context.make_array(kind)(self.context, self.builder, array).data
        return self.builder.bitcast(data, VECTOR.as_pointer())

    def load(self, rows: Value, i: Value) -> Value:
        return self.builder.load(self.builder.gep(rows, [i]), align=8)

    def store(self, value: Value, rows: Value, i: Value) -> None:
        self.builder.store(value, self.builder.gep(rows, [i]), align=8)

    def spread(self, number: Value) -> Value:
        """Return a vector of equal numbers."""
        one = self.builder.insert_element(
            ir.Constant(VECTOR, ir.Undefined), number, ir.Constant(ir.IntType(32), 0)
        )
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), None)
        return self.builder.shuffle_vector(one, ir.Constant(VECTOR, ir.Undefined), zeros)

    def add(self, a: Value, b: Value) -> Value:
        return self.builder.fadd(a, b, flags=FUSED)

    def subtract(self, a: Value, b: Value) -> Value:
        return self.builder.fsub(a, b, flags=FUSED)

    def multiply(self, a: Value, b: Value) -> Value:
        return self.builder.fmul(a, b, flags=FUSED)

    def powers(self, ratio: Value, terms: int) -> list[Value]:
        """Return ratio^1, ..., ratio^terms."""
        powers = [ratio]
        for k in range(2, terms + 1):
            powers.append(self.multiply(powers[k // 2 - 1], powers[k - k // 2 - 1]))
        return powers

    def weighted_sum(self, coefficients: list[Value], values: list[Value]) -> Value:
        """Return sum_k c_k values_k, added up in two halves, which do not wait for each other."""
        halves = []
        for first in (0, 1):
            pairs = list(zip(coefficients, values, strict=True))[first::2]
            total = self.multiply(*pairs[0])
            for c, value in pairs[1:]:
                total = self.add(total, self.multiply(c, value))
            halves.append(total)
        return self.add(*halves)

    def variables(self, rows: Value, count: int) -> list[Value]:
        """Return variables with the rows of a state, which the compiler keeps in registers."""
        place = []
        for k in range(count):
            variable = cgutils.alloca_once(self.builder, VECTOR)
            self.builder.store(self.load(rows, self.index(k)), variable)
            place.append(variable)
        return place

    def index(self, k: int) -> Value:
        return ir.Constant(ir.IntType(64), k)

    def values(self, variables: list[Value]) -> list[Value]:
        return [self.builder.load(variable) for variable in variables]

    def keep(self, variables: list[Value], rows: Value) -> None:
        """Write the variables back to their rows."""
        for k, value in enumerate(self.values(variables)):
            self.store(value, rows, self.index(k))

    def move(
        self, variables: list[Value], change: Callable[[Value, Value], Value], by: list[Value]
    ) -> None:
        """Let each variable v become change(v, by)."""
        for variable, value in zip(variables, by, strict=True):
            self.builder.store(change(self.builder.load(variable), value), variable)

    def decay(self, variables: list[Value], powers: list[Value]) -> None:
        """Let each state v_k, of points that count 1, become (v_k + 1) power_k."""
        self.move(variables, lambda v, power: self.add(self.multiply(v, power), power), powers)


def _swept(code: _Code, steps: Value, upwards: bool, step: Step) -> None:
    """Run the step at rows 0, 1, ... or backwards."""
    builder = code.builder
    with cgutils.for_range(builder, steps) as loop:
        i = loop.index
        if not upwards:
            i = builder.sub(builder.sub(steps, i), ir.Constant(steps.type, 1))
        step(i)


def _unpacked(code: _Code, count: int, coefficients: Value) -> list[Value]:
    """Return the coefficients as vectors."""
    extract = code.builder.extract_value
    return [code.spread(extract(coefficients, k)) for k in range(count)]


def _carry(upwards: bool) -> Any:
    """Return what moves the states over some points without writing anything else."""

    def carry(_typing, coefficients, ratios, state, _steps):  # type: ignore[no-untyped-def]
        def generate(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
            code = _Code(context, builder)
            rows, kept = code.rows(ratios, arguments[1]), code.rows(state, arguments[2])
            a = code.variables(kept, coefficients.count)

            def step(i: Value) -> None:
                code.decay(a, code.powers(code.load(rows, i), len(a)))

            _swept(code, arguments[3], upwards, step)
            code.keep(a, kept)
            return context.get_dummy_value()

        return types.void(coefficients, ratios, state, types.int64), generate

    return intrinsic(carry)


carry_up, carry_down = _carry(True), _carry(False)


@intrinsic
def sum_up(_typing, coefficients, ratios, state, out, _steps):  # type: ignore[no-untyped-def]
    """Write sum_k c_k A_k at each point."""

    def generate(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        code = _Code(context, builder)
        factors = _unpacked(code, coefficients.count, arguments[0])
        rows, kept = code.rows(ratios, arguments[1]), code.rows(state, arguments[2])
        to = code.rows(out, arguments[3])
        a = code.variables(kept, len(factors))

        def step(i: Value) -> None:
            code.decay(a, code.powers(code.load(rows, i), len(a)))
            code.store(code.weighted_sum(factors, code.values(a)), to, i)

        _swept(code, arguments[4], True, step)
        code.keep(a, kept)
        return context.get_dummy_value()

    return types.void(coefficients, ratios, state, out, types.int64), generate


@intrinsic
def count_down(  # type: ignore[no-untyped-def]
    _typing, coefficients, ratios, state, places, _size, out, above, _steps
):
    """Write the counts below and above each point; `out` holds what `sum_up` wrote.

    With t = place + i, place being the number of points before the first and 1/2, and with
    e = sum_k c_k (A_k - B_k), they are t - e and (size - t) + e, neither the difference of numbers
    that are much larger.
    """

    def generate(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        code = _Code(context, builder)
        factors = _unpacked(code, coefficients.count, arguments[0])
        rows, kept = code.rows(ratios, arguments[1]), code.rows(state, arguments[2])
        first = code.load(code.rows(places, arguments[3]), code.index(0))
        total = code.spread(arguments[4])
        lower, upper = code.rows(out, arguments[5]), code.rows(above, arguments[6])
        b = code.variables(kept, len(factors))

        def step(i: Value) -> None:
            t = code.add(first, code.spread(builder.sitofp(i, NUMBER)))
            e = code.subtract(code.load(lower, i), code.weighted_sum(factors, code.values(b)))
            code.store(code.subtract(t, e), lower, i)
            code.store(code.add(code.subtract(total, t), e), upper, i)
            code.decay(b, code.powers(code.load(rows, i), len(b)))

        _swept(code, arguments[7], False, step)
        code.keep(b, kept)
        return context.get_dummy_value()

    kinds = (coefficients, ratios, state, places, types.float64, out, above, types.int64)
    return types.void(*kinds), generate


def _slopes(upwards: bool, writes: bool) -> Any:
    """Return what moves the states A and D and, if it writes, writes the sums of the slope.

    With the coefficients k c_k of the derivative, these are sum_k k c_k D_k on the way up, to which
    the way down adds the same of its own.
    """

    def slope(  # type: ignore[no-untyped-def]
        _typing, coefficients, ratios, rises, state, out, _steps
    ):
        def generate(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
            code = _Code(context, builder)
            factors = _unpacked(code, coefficients.count, arguments[0])
            rows, rise_rows = code.rows(ratios, arguments[1]), code.rows(rises, arguments[2])
            kept, to = code.rows(state, arguments[3]), code.rows(out, arguments[4])
            terms = len(factors)
            both = code.variables(kept, 2 * terms)
            a, d = both[:terms], both[terms:]

            def write(i: Value) -> None:
                total = code.weighted_sum(factors, code.values(d))
                code.store(total if upwards else code.add(code.load(to, i), total), to, i)

            def step(i: Value) -> None:
                powers, rise = code.powers(code.load(rows, i), terms), code.load(rise_rows, i)
                if writes and not upwards:
                    write(i)
                code.decay(a, powers)
                code.move(d, code.multiply, powers)
                gained = [code.multiply(rise, value) for value in code.values(a)]
                code.move(d, code.add if upwards else code.subtract, gained)
                if writes and upwards:
                    write(i)

            _swept(code, arguments[5], upwards, step)
            code.keep(both, kept)
            return context.get_dummy_value()

        kinds = (coefficients, ratios, rises, state, out, types.int64)
        return types.void(*kinds), generate

    return intrinsic(slope)


slopes_up, slopes_down = _slopes(True, True), _slopes(False, True)
carry_slopes_up, carry_slopes_down = _slopes(True, False), _slopes(False, False)
