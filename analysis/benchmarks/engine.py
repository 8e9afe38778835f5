"""Speed and memory of the maximum-entropy engine, against its limit and against its peers.

    python analysis/benchmarks/engine.py

The limit is what the fit's own iterations need: at every iterate the basis h_0..h_2k, log p and its
exponential on the nodes that the fit used there, by the same compiled functions and nothing else.
A fit with fewer nodes has a lower limit, which is why there are two more: `strict` has the basis
only where the fit laid a rule, for it keeps one for several iterations; `adaptive` has as many
nodes as panels that are halved until they are exact, 168, 204 and 240 at orders 4, 6 and 8, and
is the same for any fit that takes as many iterations. One thread is timed by its processor time.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
import types
from typing import Any

import machine
import numba
import numpy as np
import peers
from numba.core.dispatcher import Dispatcher
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from distfit_nn import maxent
from distfit_nn.maxent import (
    newton_kernel,
    numba_kernel,
    problem,
    rule_kernel,
    simd,
    solution,
    strategy,
)

Array = NDArray[np.float64]
ORDERS = (4, 6, 8)
ADAPTIVE_NODES = {4: 168, 6: 204, 8: 240}
ROWS, COLUMNS = 1000, 10_000
STEP = (128, 256)  # rows and columns of a training step
SPREAD_COLUMNS = 20_000  # of the run with two threads
SCIPY_COLUMNS, MAXENTROPY_COLUMNS = 80, 16
COPIES = 20  # of these columns in the batch that the peers are held against
ROUNDS = 5
EXTRA = 6  # places in a rule where the twin keeps its counts

# What a process runs to show what it pays for compilation.
FIRST_FIT = "import numpy as np; from distfit_nn import maxent; d = maxent.fit(np.arange(9.0), 4)"
FIRST_CALLS = {"fit": FIRST_FIT, "fit and cdf": f"{FIRST_FIT}; d.cdf(1.0)"}

# 100,000 columns in one call: what NumPy takes, and what the process takes, beyond the input.
MEMORY = """
import resource, sys, tracemalloc
import numpy as np
from distfit_nn import maxent
sys.path.insert(0, {folder!r})
import engine
x = np.empty((1000, 100_000), np.float32)
rng = np.random.default_rng(0)
for start in range(0, x.shape[1], 1000):
    x[:, start : start + 1000] = engine.mixed(rng, 1000, 1000)
maxent.fit(x[:, :600].copy(), 6)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if {traced}:
    tracemalloc.start()
maxent.fit(x, 6)
peak = tracemalloc.get_traced_memory()[1]
process = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
print((peak if {traced} else process) / x.nbytes)
"""


def mixed(rng: np.random.Generator, rows: int, columns: int) -> Array:
    """Return columns of eight kinds in turn, in random places and units."""
    kinds = (
        lambda size: rng.normal(size=size),
        lambda size: rng.gamma(2.0, size=size),
        lambda size: rng.standard_t(5, size=size),
        lambda size: rng.normal(size=size) + 2.5 * rng.choice([-1.0, 1.0], size),
        lambda size: np.maximum(rng.normal(size=size), 0.0),
        lambda size: rng.uniform(size=size),
        lambda size: rng.lognormal(0.0, 0.5, size=size),
        lambda size: rng.laplace(size=size),
    )
    out = np.empty((rows, columns))
    for i, kind in enumerate(kinds):
        part = out[:, i :: len(kinds)]
        part[:] = kind(part.shape)
    return out * rng.lognormal(size=columns) + rng.normal(size=columns)


def _counting_simd() -> types.ModuleType:
    """Return `simd` with a twin of each pass that also counts calls and nodes."""
    out = types.ModuleType("counting_simd")
    vars(out).update(vars(simd))

    @numba.njit(_nrt=False)
    def fill_basis(h, nodes, top):  # type: ignore[no-untyped-def]
        h[0, -1] += 1
        h[0, -2] += nodes
        simd.fill_basis(h, nodes, top)

    @numba.njit(_nrt=False)
    def weigh(u, shift, weights, nodes, p):  # type: ignore[no-untyped-def]
        p[-1] += 1
        p[-2] += nodes
        simd.weigh(u, shift, weights, nodes, p)

    @numba.njit(_nrt=False)
    def moments(p, h, nodes, out):  # type: ignore[no-untyped-def]
        p[-3] += 1
        p[-4] += nodes
        simd.moments(p, h, nodes, out)

    out.fill_basis, out.weigh, out.moments = fill_basis, weigh, moments
    return out


def _twin(module: types.ModuleType, **other: Any) -> types.ModuleType:
    """Return a module whose compiled functions see other names, each other's twins among them."""
    out = types.ModuleType(module.__name__)
    vars(out).update({**vars(module), **other})
    for name, value in vars(module).items():
        if isinstance(value, Dispatcher) and value.__module__ == module.__name__:
            function = types.FunctionType(value.py_func.__code__, vars(out))
            setattr(out, name, numba.njit(error_model="numpy", _nrt=False)(function))
    return out


class Twin:
    """The kernel, compiled once more with passes that count what they do."""

    def __init__(self) -> None:
        counting = _counting_simd()
        rules = _twin(rule_kernel, simd=counting, new_rule=self._new_rule)
        newton = _twin(newton_kernel, simd=counting)
        own = {name: getattr(rules, name) for name in ("lay", "log_z_of")}
        own |= {name: getattr(newton, name) for name in ("differentiate",)}
        kernel = _twin(numba_kernel, simd=counting, rule_kernel=rules, **own)
        self._minimise = types.FunctionType(numba_kernel.minimise.__code__, vars(kernel))
        self._rules: list[rule_kernel.Rule] = []

    def _new_rule(self, order: int) -> rule_kernel.Rule:
        rule = rule_kernel.new_rule(order)
        nodes = len(rule.p) + EXTRA
        self._rules.append(rule._replace(h=np.zeros((len(rule.h), nodes)), p=np.zeros(nodes)))
        return self._rules[-1]

    def counts(self, given: solution.Problem) -> dict[str, tuple[int, int]]:
        """Return calls and nodes of the bases laid, the exponentials, and the iterates."""
        self._rules.clear()
        self._minimise(given)
        places = {"laid": ("h", 1), "passes": ("p", 1), "iterates": ("p", 3)}
        out = {}
        for name, (array, place) in places.items():
            rows = [rule.p if array == "p" else rule.h[0] for rule in self._rules]
            out[name] = (
                int(sum(row[-place] for row in rows)),
                int(sum(row[-place - 1] for row in rows)),
            )
        return out


@numba.njit
def limit(coefficients, rule, bases, basis_nodes, passes, pass_nodes):  # type: ignore[no-untyped-def]
    """Evaluate so many bases and exponentials, each on so many nodes."""
    for _ in range(bases):
        simd.fill_basis(rule.h, basis_nodes, len(rule.h) - 1)
    for _ in range(passes):
        simd.log_density(coefficients, rule.h, 0, pass_nodes, rule.u)
        simd.weigh(rule.u, 0.0, rule.weights, pass_nodes, rule.p)


def limits(order: int, counts: dict[str, tuple[int, int]]) -> dict[str, Any]:
    """Return calls that take the limits."""
    rule = rule_kernel.new_rule(order)
    for part in (rule.weights, rule.h, rule.u, rule.p):
        part[:] = 0.01
    rule.h[1] = np.linspace(-3.0, 3.0, rule.h.shape[1])
    coefficients = np.full(order + 1, -0.01)
    mean = {name: round(nodes / calls) for name, (calls, nodes) in counts.items()}
    iterates, laid, passes = (counts[name][0] for name in ("iterates", "laid", "passes"))
    at_iterates = (iterates, mean["iterates"], iterates, mean["iterates"])
    as_made = (laid, mean["laid"], passes, mean["passes"])
    adaptive = (iterates, ADAPTIVE_NODES[order], iterates, ADAPTIVE_NODES[order])
    return {
        "limit": lambda: limit(coefficients, rule, *at_iterates),
        "strict": lambda: limit(coefficients, rule, *as_made),
        "adaptive": lambda: limit(coefficients, rule, *adaptive),
    }


def solve(given: problem.Standardised) -> solution.Solution:
    """Solve a ready problem on one thread."""
    return strategy.solve(given.problem, given.rule, numba_kernel.minimise, 1)


def batch_figures(x: Array, order: int, twin: Twin) -> dict[str, Any]:
    """Time per column of the fit and its parts on one thread, and the ratio to the limits."""
    given = problem.from_samples(x, order, 3.0, False)
    columns = x.shape[1]
    counts = twin.counts(given.problem)
    times = machine.interleaved(
        {
            "fit": lambda: maxent.fit(x, order),
            "solver": lambda: solve(given),
            "kernel": lambda: numba_kernel.minimise(given.problem),
            "standardisation": lambda: problem.from_samples(x, order, 3.0, False),
            **limits(order, counts),
        },
        ROUNDS,
        time.process_time,
    )
    fits = numba_kernel.minimise(given.problem)
    met = solution.residual(fits.moments, given.problem.targets) <= solution.RESIDUAL_TOLERANCE
    found = solve(given)
    names = found.status_names()
    return {
        "us_per_column": {
            name: round(1e6 * statistics.median(taken) / columns, 2)
            for name, taken in times.items()
        },
        "solver_over_limit": machine.ratio(times, "solver", "limit"),
        "solver_over_strict_limit": machine.ratio(times, "solver", "strict"),
        "solver_over_adaptive_limit": machine.ratio(times, "solver", "adaptive"),
        "kernel_over_limit": machine.ratio(times, "kernel", "limit"),
        "per_column": {
            f"{name}: calls, nodes a call": [round(calls / columns, 2), round(nodes / calls)]
            for name, (calls, nodes) in counts.items()
        },
        "iterations_mean": round(float(found.iterations.mean()), 2),
        "iterations_99%": float(np.quantile(found.iterations, 0.99)),
        "left_to_the_hard_solver": round(1 - float((fits.converged & met).mean()), 5),
        "status_share": {name: names.count(name) / columns for name in sorted(set(names))},
        "worst_residual": float(f"{found.residual.max():.1e}"),
    }


def step_figures(rng: np.random.Generator, twin: Twin) -> dict[str, Any]:
    """Time per column of fits of fresh rows, as a layer in training would ask for."""
    batches = iter([mixed(rng, *STEP) for _ in range(4 * (ROUNDS * 3 + 1))])
    given = problem.from_samples(mixed(rng, *STEP), 4, 3.0, False)
    times = machine.interleaved(
        {
            "fit": lambda: [maxent.fit(next(batches), 4) for _ in range(4)],
            "solver": lambda: [solve(given) for _ in range(4)],
            **{
                name: lambda call=call: [call() for _ in range(4)]
                for name, call in limits(4, twin.counts(given.problem)).items()
            },
        },
        3 * ROUNDS,
        time.process_time,
    )
    return {
        "us_per_column": {
            name: round(1e6 * statistics.median(taken) / (4 * STEP[1]), 2)
            for name, taken in times.items()
        },
        "fit_over_limit": machine.ratio(times, "fit", "limit"),
        "solver_over_limit": machine.ratio(times, "solver", "limit"),
    }


def peer_figures(x: Array, order: int, peer: str, count: int) -> dict[str, Any]:
    """Return how many times as long a peer takes for the same ready problems."""
    given = problem.from_samples(x[:, :count], order, 3.0, False)
    columns = peers.columns(given.problem)
    fit_one = getattr(peers, peer)
    try:
        found = [fit_one(column) for column in columns]
    except ImportError as error:
        return {"skipped": str(error)}
    # A batch of copies, for what a call costs beside its columns not to count.
    many = np.tile(np.arange(count), COPIES)

    def ours() -> solution.Solution:
        batch, rule = given.problem[many], lambda j: given.rule(int(many[j]))
        return strategy.solve(batch, rule, numba_kernel.minimise, 1)

    times = machine.interleaved(
        {"ours": ours, "peer": lambda: [fit_one(column) for column in columns]},
        3,
        time.process_time,
    )
    return {
        "us_per_column": round(1e6 * statistics.median(times["peer"]) / count),
        "over_ours": round(COPIES * machine.ratio(times, "peer", "ours"), 1),
        **peers.agreement(found, columns, solve(given)),
    }


def thread_figures(rng: np.random.Generator) -> dict[str, Any]:
    """Return how much faster two threads are, by the clock on the wall."""
    x = mixed(rng, ROWS, SPREAD_COLUMNS).astype(np.float32)

    def fit(threads: int, order: int) -> None:
        numba.set_num_threads(threads)
        maxent.fit(x, order)

    out = {}
    for order in (4, 6):
        times = machine.interleaved(
            {
                "1": lambda order=order: fit(1, order),
                "2": lambda order=order: fit(2, order),
            },
            3,
        )
        out[f"order {order}"] = machine.ratio(times, "1", "2")
    return out


def memory_share(*, traced: bool) -> float:
    """Return the peak of a fit of 100,000 columns beyond its input, as a share of it."""
    code = MEMORY.format(folder=os.path.dirname(os.path.abspath(__file__)), traced=traced)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return round(float(done.stdout), 3)


def compile_figures() -> dict[str, Any]:
    """Return what a process takes, interpreter included, without and with compiled code."""
    out: dict[str, Any] = {}
    for name, code in FIRST_CALLS.items():
        with tempfile.TemporaryDirectory() as folder:
            environment = dict(os.environ, NUMBA_CACHE_DIR=folder)

            def run(code: str = code, environment: dict[str, str] = environment) -> None:
                subprocess.run([sys.executable, "-c", code], check=True, env=environment)

            first = machine.seconds(run)
            later = statistics.median(machine.seconds(run) for _ in range(ROUNDS))
        out[name] = {"first_process_s": round(first, 2), "second_process_s": round(later, 3)}
    return out


def main() -> None:
    """Measure and write the figures."""
    rng = np.random.default_rng(0)
    x, twin = mixed(rng, ROWS, COLUMNS), Twin()
    one = x[:, 0].copy()
    figures: dict[str, Any] = {"rows": ROWS, "columns": COLUMNS, "limit": __doc__.split("\n\n")[2]}
    threads = numba.get_num_threads()
    with threadpool_limits(1):  # threads of BLAS only slow down products this small
        numba.set_num_threads(1)
        for order in ORDERS:
            figures[f"order {order}"] = batch_figures(x, order, twin)
            for peer, count in (("trust_exact", SCIPY_COLUMNS), ("maxentropy", MAXENTROPY_COLUMNS)):
                figures[f"order {order}"][peer] = peer_figures(x, order, peer, count)
        figures["step of 128 rows by 256 columns, order 4"] = step_figures(rng, twin)
        alone = machine.interleaved({"fit": lambda: maxent.fit(one, 6)}, 50, time.process_time)
        figures["us_of_one_column_order_6"] = round(1e6 * statistics.median(alone["fit"]), 1)
    numba.set_num_threads(threads)
    figures["two_threads_over_one"] = thread_figures(rng)
    figures["memory_beyond_100000_columns_of_float32"] = {
        "of_numpy": memory_share(traced=True),
        "of_the_process": memory_share(traced=False),
    }
    figures["compilation"] = compile_figures()
    machine.write("engine", figures)


if __name__ == "__main__":
    main()
