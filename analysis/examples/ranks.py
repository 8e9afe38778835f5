"""Several processes train one network, each records its share, and reading joins them.

    torchrun --nproc-per-node 2 analysis/examples/ranks.py --output build/examples/ranks

It needs no GPU: the ranks meet by gloo.
"""

from __future__ import annotations

import common
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

import distfit_nn as dn


def main() -> None:
    """Train for three steps on every rank, recording; the first then reads what all wrote."""
    folder = common.parser(__doc__, "ranks").parse_args().output
    distributed.init_process_group("gloo")  # "nccl" on GPUs
    rank, ranks = distributed.get_rank(), distributed.get_world_size()
    torch.manual_seed(0)
    net = DistributedDataParallel(nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 1)))
    sgd = torch.optim.SGD(net.parameters(), lr=0.01)
    torch.manual_seed(1 + rank)  # every rank has data of its own
    with dn.record(net, folder / "run", rows=100, mode="w"):
        for _ in range(3):
            sgd.zero_grad()
            net(torch.randn(500, 20)).square().mean().backward()
            sgd.step()
    distributed.barrier()
    if rank == 0:
        layers = dn.analyze(folder / "run").layers
        print(f"{ranks} ranks", layers[["layer", "step", "rows", "rows_seen"]], sep="\n")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
