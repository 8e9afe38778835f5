"""Layers over two ranks of torch.distributed: as if the union of their batches were one."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from tests import tolerances
from tests.nn.cases import CASES, PLANES, Case, batch, name_of

NAMES = ("log_shift", "kl", "kl_closed", "trimmed", "moment2", "moment4", "copula", "copula_linear")
SHARED = [case for case in CASES if case.name in NAMES] + PLANES
DDP_CASES = [c for c in CASES if c.name in ("moment4", "copula", "copula_bimodal")]
SPLIT = 5, 3  # rows of each rank, in eighths


def parts(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return x.split([len(x) * share // sum(SPLIT) for share in SPLIT])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def state(layer: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in layer.state_dict().items()}


def work(rank: int, port: int, folder: str) -> None:
    """Train each layer for two steps on this rank's part, and write what came of it."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    results = {}
    for case in SHARED:
        layer = case(3, dtype=torch.float64, sync=True)
        steps = []
        for step in range(2):
            x = parts(batch(case, rows=96, dtype=torch.float64) * (1 + step))[rank]
            x = x.clone().requires_grad_()
            y = layer(x)
            y.square().sum().backward()
            steps.append((y.detach(), x.grad))
        gradients = {name: p.grad for name, p in layer.named_parameters()}
        results[name_of(case)] = steps, gradients, state(layer)
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), CASES[8](3, sync=True))
    torch.manual_seed(0)
    for p in model.parameters():
        torch.nn.init.normal_(p)
    wrapped = DistributedDataParallel(model)
    x = parts(batch(CASES[8], rows=96))[rank]
    wrapped(x).square().mean().backward()
    results["ddp"] = [p.grad for p in model.parameters()]
    results["after eval"] = [after_eval_on_one_rank(case, rank) for case in DDP_CASES]
    torch.save(results, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def after_eval_on_one_rank(case: Case, rank: int) -> torch.Tensor:
    """Train after only one rank has been in eval mode: what it made ready there is its own."""
    wrapped = DistributedDataParallel(torch.nn.Sequential(torch.nn.Linear(3, 3), case(3)))
    x = parts(batch(case, rows=96))[rank]
    wrapped(x).square().mean().backward()
    if rank == 0:
        wrapped.module.eval()(x)
        wrapped.module.train()
    y: torch.Tensor = wrapped(x).detach()
    return y


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    if sys.platform == "win32" or not dist.is_gloo_available():
        pytest.skip("gloo is not at hand")
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(work, (free_port(), str(folder)), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("case", SHARED, ids=name_of)
def test_ranks_are_one_batch(case: Case, results):
    # Each rank adds the penalty to its loss: a sum over ranks has it twice, their mean once.
    options = {"kl_weight": 0.02} if case.name == "kl" else {}
    layer = case(3, dtype=torch.float64, **options)
    for step in range(2):
        x = (batch(case, rows=96, dtype=torch.float64) * (1 + step)).clone().requires_grad_()
        y = layer(x)
        y.square().sum().backward()
        for rank, (own, gradient) in enumerate(zip(parts(y.detach()), parts(x.grad), strict=True)):
            theirs, their_gradient = results[rank][name_of(case)][0][step]
            torch.testing.assert_close(theirs, own, **tolerances.LAYER_DOUBLE)
            torch.testing.assert_close(their_gradient, gradient, **tolerances.LAYER_DOUBLE)
    for name, parameter in layer.named_parameters():
        total = sum(results[rank][name_of(case)][1][name] for rank in range(2))
        torch.testing.assert_close(total, parameter.grad, **tolerances.LAYER_DOUBLE)
    for name, value in layer.state_dict().items():
        for rank in range(2):
            torch.testing.assert_close(
                results[rank][name_of(case)][2][name], value, **tolerances.LAYER_DOUBLE
            )


def test_distributed_data_parallel(results):
    """Both ranks hold the gradient of the mean of their losses."""
    for first, second in zip(results[0]["ddp"], results[1]["ddp"], strict=True):
        torch.testing.assert_close(first, second)


def test_one_rank_may_evaluate(results):
    """Buffers that one rank alone has would end the processes."""
    assert all(y.isfinite().all() for rank in results for y in rank["after eval"])
