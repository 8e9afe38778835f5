"""The moment match by torch's own operators, for devices other than the CPU.

The same table and formulas as in `table_kernel`. Only the moments, k numbers of a column, go
to the CPU, where the densities are found; the gradient goes through the solution by the inverse
Hessian of the dual, dc = H^-1 dm, and through all else by torch itself.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from distfit_nn.transforms.moments import columns as engine
from distfit_nn.transforms.moments import table_kernel as tables
from distfit_nn.transforms.moments.density import Solution, log_density, solution_of
from distfit_nn.transforms.moments.law import Moments, status_of, support_radius
from distfit_nn.transforms.moments.match_kernel import FINE
from distfit_nn.transforms.moments.reach import REACH, belief, believed, checked
from distfit_nn.transforms.moments.rules import MARGIN, STEEPEST

LEAST, LARGEST, STEEP = tables.LEAST, tables.LARGEST, tables.STEEP


def composed(
    x: Tensor,
    order: int,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    reach: float | None = REACH,
) -> tuple[Tensor, Moments]:
    """Return what `match.matched` does, on the device of x."""
    points = x.double() if x.dtype != torch.float64 else x.view_as(x)  # for its own gradient
    constant = (x == x[:1]).all(dim=0)
    mean = points.mean(dim=0)
    mean = mean + torch.where(constant, points[0] - mean, 0.0).detach()
    deviation = points - mean
    variance = torch.where(constant, 0.0, deviation.square().mean(dim=0))
    varies = variance > 0
    safe = torch.where(varies, variance, 1.0)
    z = deviation / safe.sqrt()
    powers = [z.pow(r).mean(dim=0) for r in range(3, order + 1)]
    shape = torch.stack(powers) if powers else z[:0]
    low, high = z.detach().amin(dim=0), z.detach().amax(dim=0)
    extreme = torch.maximum(high, -low)
    radius = support_radius(extreme)
    fits = varies & (MARGIN * extreme <= radius * (1 + 1e-9)) & (len(x) > order > 2)
    solution = solution_of(torch.where(fits, shape.detach(), math.nan), radius, low, high, x.dtype)
    found = solution.share < 1
    inverse = 1 / (variance + eps).sqrt()
    y = deviation * torch.where(variance + eps > 0, inverse, 0.0)
    if bool(found.any()):
        some = found.nonzero()[:, 0]
        scores = _scores(
            z[:, some],
            shape[:, some],
            radius[some],
            solution.of(some),
            engine.cells(*_size(x)),
            checked(reach),
        )
        y = y.index_copy(1, some, scores * (safe / (safe + eps)).sqrt()[some])
    y = y if weight is None else y * weight.double()
    y = y if bias is None else y + bias.double()
    if y.requires_grad and points.requires_grad:
        _bound(points, y, inverse.detach() * (1 if weight is None else weight.detach().abs()))
    nothing = torch.where(varies, 0.0, math.nan)
    status = status_of(solution.share, mean.isfinite())
    law = torch.stack([mean.detach(), variance.detach(), *(shape.detach() + nothing), extreme])
    return y.to(x.dtype), Moments(law, radius, status)


def _bound(points: Tensor, y: Tensor, rate: Tensor) -> None:
    """Shorten gradients of columns that are more than STEEPEST * rate times as long as those by y.

    `rate` is (d,). A gradient that is not finite, of one that is, becomes 0.
    """
    given: list[Tensor] = []

    def shorten(slopes: Tensor) -> Tensor:
        by_y = given.pop()
        size, limit = slopes.norm(dim=0), STEEPEST * rate * by_y
        factor = torch.where(size > limit, limit / size, 1.0)
        lost = ~size.isfinite() & by_y.isfinite()
        return torch.where(lost, 0.0, slopes * factor)

    y.register_hook(lambda slopes: given.append(slopes.double().norm(dim=0)))
    points.register_hook(shorten)


def _size(x: Tensor) -> tuple[int, str]:
    return len(x), str(x.dtype).removeprefix("torch.")


def _scores(
    z: Tensor,
    shape: Tensor,
    radius: Tensor,
    solution: Solution,
    cells: int,
    reach: float,
) -> Tensor:
    """Return g(Phi^-1(F1(z))) by tables, with a gradient in z and the moments."""
    known = torch.zeros_like(shape[:1]).expand(2, -1)
    change = torch.cat([known, (1 - solution.share) * (shape - shape.detach())])
    c = solution.multipliers + torch.einsum("dij,jd->id", solution.inverse, change)
    low, high = z.detach().amin(dim=0), z.detach().amax(dim=0)
    width = 2.0 ** (torch.ceil(FINE * torch.log2((high - low) / (cells - 2))) / FINE)
    start = width * torch.floor(low / width)
    grid = start, width, radius, cells
    values, slopes = _table(c, *grid, cells == engine.CELLS_DOUBLE, reach)
    at = (z - start) / width
    cell = at.detach().long().clamp(0, cells - 1)
    f = at - cell
    rise = values.diff(dim=0)
    left, right = width * slopes[:-1], width * slopes[1:]
    cubics = (values[:-1], left, 3 * rise - 2 * left - right, left + right - 2 * rise)
    a, b, e, g = (part.gather(0, cell) for part in cubics)
    return a + f * (b + f * (e + f * g))


def _tail(c: Tensor, origin: Tensor, end: Tensor, double: bool) -> tuple[Tensor, Tensor]:
    """Return points of a tail and their weights, as `table_kernel` lays them."""
    rule = tables.constants(double)
    nodes, weights = (torch.as_tensor(part, device=c.device)[:, None] for part in rule[:2])
    degrees = torch.arange(1, len(c) + 1, device=c.device)[:, None]
    rise = log_density(end, (degrees * c.detach())) / end * end.sign()
    length = (end - origin).abs()
    narrow = tables.TIP / (rise * length * rule.tip).clamp(min=tables.TIP)
    wide = (1 - (1 - rule.end) * narrow - rule.stay) / (rule.end - rule.stay)
    middle, last = (nodes > rule.stay) & (nodes < rule.end), nodes > rule.end
    share = torch.where(middle, rule.stay + (nodes - rule.stay) * wide, nodes)
    share = torch.where(last, 1 - (1 - nodes) * narrow, share)
    stretch = torch.where(middle, wide, torch.where(last, narrow, 1.0))
    return origin + (end - origin) * share, length * stretch * weights


def _table(
    c: Tensor,
    start: Tensor,
    width: Tensor,
    radius: Tensor,
    cells: int,
    double: bool,
    reach: float,
) -> tuple[Tensor, Tensor]:
    """Return values and slopes at the knots (cells + 1, d)."""
    stop = start + cells * width
    step = torch.arange(2 * cells + 1, device=c.device, dtype=c.dtype)[:, None]
    before, first_weights = _tail(c, start, -radius, double)
    after, last_weights = _tail(c, stop, radius, double)
    parts = before, start + 0.5 * width * step, after
    height = [log_density(part, c) for part in parts]
    top = height[1].detach().amax(dim=0)
    lower, p, upper = ((part - top).clamp(-LARGEST, LARGEST).exp() for part in height)
    first = (first_weights * lower).sum(dim=0, keepdim=True)
    last = (last_weights * upper).sum(dim=0, keepdim=True)
    masses = width / 6 * (p[:-2:2] + 4 * p[1::2] + p[2::2])
    below = torch.cat([first, masses]).cumsum(dim=0)
    above = torch.cat([masses, last]).flip(0).cumsum(dim=0).flip(0)
    total = below[-1] + last[0]
    tail = (torch.minimum(below, above) / total).clamp(min=LEAST)
    scores = torch.special.ndtri(tail) * torch.where(below < above, 1.0, -1.0)
    half = (0.5 * scores.square()).clamp(max=LARGEST)
    free = p[::2] / total * math.sqrt(2 * math.pi) * half.exp() * belief(scores, reach)
    values = believed(scores, reach)
    chord = STEEP / width * values.diff(dim=0)
    most = torch.minimum(torch.cat([chord[:1], chord]), torch.cat([chord, chord[-1:]]))
    return values, torch.minimum(free, most.clamp(min=0))
