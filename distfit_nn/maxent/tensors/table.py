"""Masses of the panels of d densities, and with them both tails, quantiles and their adjoints.

All in standardised coordinates and float64, columns first. A tail is the sum of the masses of whole
panels, added up from its own end, and of a part of one panel by the Gauss rule: its relative error
stays small however small it is. Which of the two tails a point takes depends on its panel: from the
one that holds the median on, it is the upper one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from distfit_nn.maxent import basis
from distfit_nn.maxent.tensors import panels as torch_panels

FIRST_PANELS = 16
MOST_PANELS = 512
ROUNDS = 24
# log p changes by no more than this over a panel of a tail, which the rule then integrates to 1e-15
STEEP = 12.0
# ... down to this below its maximum, where float64 ends, or to this below the ends of the window,
# from where it adds less than a rounding to a tail.
DEEPEST, DEEPER = 760.0, 40.0
NEWTON_STEPS = 64
LAST_STEP = 1e-9  # of a quantile, as a share of its panel: the next error is its square


@dataclass(frozen=True, eq=False)
class Table:
    """Panels of d densities exp(sum_i coefficients[:, i-1] h_i - log_z) on [lower, upper].

    coefficients (d, k); log_z (d,); edges (d, panels + 1); masses (d, panels).
    """

    coefficients: Tensor
    log_z: Tensor
    edges: Tensor
    masses: Tensor

    @classmethod
    def build(
        cls,
        coefficients: Tensor,
        lower: Tensor,
        upper: Tensor,
        window: tuple[Tensor, Tensor],
        start: Tensor | None = None,
    ) -> Table:
        """Place panels that integrate the densities to rounding, and their tails in relative terms.

        coefficients (d, k); lower, upper (d,), the support; window, two (d,): between these points
        the tails are exact in relative terms; start (d, panels + 1), edges to refine.
        """
        if start is None:
            start = torch_panels.first_edges(lower, upper, FIRST_PANELS)
        values = 4 * torch_panels.NODES * start.shape[1]
        parts = [
            _edges(coefficients[part], start[part], torch.stack(window, dim=1)[part])
            for part in torch_panels.slices(len(lower), _room(lower) // values)
        ]
        most = max(part.shape[1] - 1 for part in parts)
        whole = (torch.ones_like(part[:, 1:], dtype=torch.int64) for part in parts)
        edges = torch.cat(
            [torch_panels.cut(part, ones, most) for part, ones in zip(parts, whole, strict=True)]
        )
        logs, masses = [], []
        for part in torch_panels.slices(len(edges), _room(lower) // (most * torch_panels.NODES)):
            z, w = torch_panels.panel_nodes(edges[part])
            u = torch_panels.series(coefficients[part], z)
            top = u.amax(dim=(1, 2))
            mass = ((u - top[:, None, None]).exp_() * w).sum(dim=2)
            total = mass.sum(dim=1)
            logs.append(top + total.log())
            masses.append(mass / total[:, None])
        return cls(coefficients, torch.cat(logs), edges, torch.cat(masses))

    @property
    def lower(self) -> Tensor:
        """Lower ends of the supports."""
        return self.edges[:, 0]

    @property
    def upper(self) -> Tensor:
        """Upper ends of the supports."""
        return self.edges[:, -1]

    def __len__(self) -> int:
        return len(self.edges)

    def __getitem__(self, part: slice | Tensor) -> Table:
        """Return some of the columns."""
        return Table(self.coefficients[part], self.log_z[part], self.edges[part], self.masses[part])

    @cached_property
    def left(self) -> Tensor:
        """Mass below each edge (d, panels + 1), added up from below."""
        return torch.nn.functional.pad(self.masses.cumsum(dim=1), (1, 0))

    @cached_property
    def right(self) -> Tensor:
        """Mass above each edge, added up from above."""
        return torch.nn.functional.pad(self.masses.flip(1).cumsum(dim=1).flip(1), (0, 1))

    @cached_property
    def panel_moments(self) -> Tensor:
        """Integrals of p h_i over each panel, (d, k, panels)."""
        z, w = torch_panels.panel_nodes(self.edges)
        p = (torch_panels.series(self.coefficients, z) - self.log_z[:, None, None]).exp_() * w
        rows = torch_panels.hermite(z, self.coefficients.shape[1])
        return torch.stack([(h * p).sum(dim=2) for h in rows][1:], dim=1)

    @cached_property
    def moments(self) -> Tensor:
        """E h_1, ..., E h_k, (d, k)."""
        return self.panel_moments.sum(dim=2)

    @cached_property
    def covariance(self) -> Tensor:
        """The Hessian H = Cov(h_i, h_j), (d, k, k), from centred values."""
        columns, order = self.coefficients.shape
        out = torch.empty(columns, order, order, dtype=self.log_z.dtype, device=self.log_z.device)
        values = order * self.edges.shape[1] * torch_panels.NODES
        for part in torch_panels.slices(columns, _room(self.edges) // values):
            z, w = torch_panels.panel_nodes(self.edges[part])
            u = torch_panels.series(self.coefficients[part], z)
            root = ((u - self.log_z[part, None, None]).exp_() * w).sqrt_()
            rows = list(torch_panels.hermite(z, order))[1:]
            mean = self.moments[part]
            centred = [(h - mean[:, i, None, None]) * root for i, h in enumerate(rows)]
            flat = torch.stack(centred, dim=1).flatten(2)
            out[part] = flat @ flat.mT
        return out

    def log_density(self, z: Tensor) -> Tensor:
        """Return log p(z) for z (d, m) inside the support."""
        return torch_panels.series(self.coefficients, z) - self.log_z[:, None]

    def panel_of(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the panel of each point (d, m), and whether its tail is the upper one."""
        panel = torch.searchsorted(self.edges, z.contiguous(), right=True) - 1
        panel = panel.clamp(0, self.masses.shape[1] - 1)
        return panel, self.left[:, 1:].gather(1, panel) > 0.5

    def tail(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mass of a tail that ends at z (d, m), and whether it is the upper one."""
        z = torch.minimum(torch.maximum(z, self.lower[:, None]), self.upper[:, None])
        mass, upper = torch.empty_like(z), torch.empty_like(z, dtype=torch.bool)
        for rows, points in self._blocks(z, 1):
            part = self[rows]
            mass[rows, points], upper[rows, points] = part._tail(z[rows, points])
        return mass, upper

    def _tail(self, z: Tensor) -> tuple[Tensor, Tensor]:
        panel, upper = self.panel_of(z)
        return self._mass(z, panel, upper), upper

    def _mass(self, z: Tensor, panel: Tensor, upper: Tensor) -> Tensor:
        """Return the mass above z where `upper` is set and below it elsewhere."""
        start, nodes, weights = self._part(z, panel, upper)
        p = (torch_panels.series(self.coefficients, nodes) - self.log_z[:, None, None]).exp_()
        far = torch.where(upper, self.right.gather(1, panel + 1), self.left.gather(1, panel))
        return (far + (p * weights).sum(dim=2) * (z - start).abs()).clamp_max(1.0)

    def _part(self, z: Tensor, panel: Tensor, upper: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the end of the panel on the tail's side, and the rule between it and z."""
        start = self.edges.gather(1, panel + upper)
        nodes, weights = torch_panels.rule(z)
        share = (1 + nodes) / 2
        return start, start[..., None] + (z - start)[..., None] * share, weights / 2

    def adjoint(self, z: Tensor, upper: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the derivatives of sum_j v_j mass_j to the multipliers and both ends.

        With S the mass above a point and F that below it, mass is S where `upper` is set and F
        elsewhere, and

            d mass / d lambda_i = integral of (h_i - E h_i) p over the tail,
            d F / d lower = -p(lower) S,   d F / d upper = -p(upper) F,   d S = -d F.

        Returns (d, k), (d,), (d,).
        """
        order = self.coefficients.shape[1]
        out = torch.zeros_like(self.coefficients)
        lower, at_upper = torch.zeros_like(self.log_z), torch.zeros_like(self.log_z)
        z = torch.minimum(torch.maximum(z, self.lower[:, None]), self.upper[:, None])
        for rows, points in self._blocks(z, 2):
            part, at, side, weight = (
                self[rows],
                z[rows, points],
                upper[rows, points],
                v[rows, points],
            )
            panel, _ = part.panel_of(at)
            start, nodes, rule = part._part(at, panel, side)
            p = (torch_panels.series(part.coefficients, nodes) - part.log_z[:, None, None]).exp_()
            p *= rule * ((at - start).abs() * weight)[..., None]
            far = torch.where(side, part.right.gather(1, panel + 1), part.left.gather(1, panel))
            each = far * weight + p.sum(dim=2)  # v times the mass of the tail
            # What the points want of each whole panel: those above them, or below them.
            wanted = _wanted(panel, side, weight, part.masses.shape[1])
            sums = (part.panel_moments * wanted[:, None]).sum(dim=2)
            rows_of_h = torch_panels.hermite(nodes, order)
            inner = torch.stack([(h * p).sum(dim=(1, 2)) for h in rows_of_h][1:], dim=1)
            out[rows] += sums + inner - part.moments * each.sum(dim=1, keepdim=True)
            sign = torch.where(side, -1.0, 1.0)
            below = torch.where(side, weight - each, each)
            above = weight - below
            lower[rows] -= (sign * above).sum(dim=1)
            at_upper[rows] -= (sign * below).sum(dim=1)
        return out, lower * self._at_end(self.lower), at_upper * self._at_end(self.upper)

    def _at_end(self, end: Tensor) -> Tensor:
        return self.log_density(end[:, None])[:, 0].exp()

    def quantile(self, q: Tensor, upper: Tensor) -> Tensor:
        """Return z (d, m) with mass q above it where `upper` is set, below it elsewhere.

        By Newton's method kept within the panel that holds it; q in [0, 1].
        """
        out = torch.empty_like(q)
        for rows, points in self._blocks(q, 1):
            out[rows, points] = self[rows]._quantile(q[rows, points], upper[rows, points])
        return out

    def _quantile(self, q: Tensor, upper: Tensor) -> Tensor:
        q = q.contiguous()
        below = torch.searchsorted(self.left, q) - 1
        above = self.masses.shape[1] - torch.searchsorted(self.right.flip(1), q)
        panel = torch.where(upper, above, below).clamp(0, self.masses.shape[1] - 1)
        low, high = self.edges.gather(1, panel), self.edges.gather(1, panel + 1)
        width = high - low
        z = (low + high) / 2
        sign = torch.where(upper, -1.0, 1.0)
        for _ in range(NEWTON_STEPS):
            excess = (self._mass(z, panel, upper) - q) * sign
            high, low = torch.where(excess > 0, z, high), torch.where(excess > 0, low, z)
            trial = z - excess / self.log_density(z).exp()
            inside = (trial >= low) & (trial <= high)
            trial = torch.where(inside, trial, (low + high) / 2)
            step, z = (trial - z).abs(), trial
            if bool((step <= LAST_STEP * width).all()):
                break
        first = torch.where(upper, self.upper[:, None], self.lower[:, None])
        last = torch.where(upper, self.lower[:, None], self.upper[:, None])
        return torch.where(q == 0, first, torch.where(q == 1, last, z))

    def _blocks(self, points: Tensor, share: int) -> Iterator[tuple[slice, slice]]:
        """Iterate over blocks of columns and points whose nodes fit into a block of values."""
        room = _room(points) // (torch_panels.NODES * share)
        columns, count = points.shape
        for rows in torch_panels.slices(columns, room // max(1, count)):
            for part in torch_panels.slices(count, room // (rows.stop - rows.start)):
                yield rows, part


def _room(like: Tensor) -> int:
    return torch_panels.block_values(like.device)


def _wanted(panel: Tensor, upper: Tensor, v: Tensor, panels: int) -> Tensor:
    """Return the sum of v over the points whose tail holds each whole panel, (d, panels)."""
    # One place more at the side of a tail's own panel, which is not whole.
    nothing = v.new_zeros(len(v), panels + 1)
    for_lower = nothing.scatter_add(1, panel, torch.where(upper, 0.0, v))
    for_upper = nothing.scatter_add(1, panel + 1, torch.where(upper, v, 0.0))
    return for_lower.flip(1).cumsum(dim=1).flip(1)[:, 1:] + for_upper.cumsum(dim=1)[:, :-1]


def _edges(coefficients: Tensor, edges: Tensor, window: Tensor) -> Tensor:
    """Return the edges with panels cut until they serve; window (d, 2)."""
    pending = torch.arange(len(edges), device=edges.device)
    for _ in range(ROUNDS):
        own = _parts(coefficients[pending], edges[pending], window[pending])
        # A column that wants more panels than there may be keeps those it has.
        cuts = (own > 1).any(dim=1) & (own.sum(dim=1) <= MOST_PANELS)
        rows = cuts.nonzero()[:, 0]
        if len(rows) == 0:
            break
        pending = pending[rows]
        parts = torch.ones_like(edges[:, 1:], dtype=torch.int64)
        parts[pending] = own[rows]
        edges = torch_panels.cut(edges, parts, int(own[rows].sum(dim=1).max()))
    return edges


def _parts(coefficients: Tensor, edges: Tensor, window: Tensor) -> Tensor:
    """Return into how many parts each panel is to be cut, for its integrals and its steepness."""
    z, w = torch_panels.panel_nodes(edges)
    fine_z, fine_w = torch_panels.panel_nodes(torch_panels.halved(edges))
    u, fine_u = (torch_panels.series(coefficients, grid) for grid in (z, fine_z))
    at_edges = torch_panels.series(coefficients, edges)
    top = torch.maximum(fine_u.amax(dim=(1, 2)), at_edges.amax(dim=1))
    fine_p = (fine_u - top[:, None, None]).exp_().mul_(fine_w)
    fine = fine_p.sum(dim=2)
    total = fine.sum(dim=1)
    halves = fine.reshape(len(edges), -1, 2).sum(dim=2)
    p = (u - top[:, None, None]).clamp_max_(700.0).exp_().mul_(w)
    coarse = p.sum(dim=2)
    # What rounding in sum_i lambda_i h_i does to an integral: no halving mends that. A node above
    # the top is an error that is larger still.
    terms = torch.zeros_like(z)
    for i, h in enumerate(torch_panels.hermite(z, coefficients.shape[1])):
        if i:
            terms.addcmul_(h.abs(), coefficients[:, i - 1].abs()[:, None, None])
    noise = 4 * torch.finfo(u.dtype).eps * terms.mul_(torch.minimum(p, w)).sum(dim=(1, 2))
    limit = torch.maximum(noise, basis.PANEL_TOLERANCE * total)
    hidden = torch_panels.hidden_mass(coefficients, edges, top)  # in units of exp(top), as the rest
    parts = torch_panels.parts_for(torch.maximum((coarse - halves).abs(), hidden), limit)
    ends = torch_panels.series(coefficients, window).amin(dim=1)
    floor = torch.maximum(top - DEEPEST, ends - DEEPER)
    seen = torch.maximum(at_edges, floor[:, None])
    steep = (seen.diff(dim=1).abs() / STEEP).ceil().clamp(1, torch_panels.MOST_PARTS)
    wide = edges.diff(dim=1) > 1e-13 * edges.abs().amax(dim=1, keepdim=True)
    return torch.where(wide, torch.maximum(parts, steep.to(parts.dtype)), 1)
