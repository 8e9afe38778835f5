"""What the layers may give a feature: any law, by a table, or a mixture, which may learn.

`named` tells what a layer's ``target=`` stands for.
"""

from __future__ import annotations

from distfit_nn.nn.targets.mixture import GaussianMixture
from distfit_nn.nn.targets.named import BIMODAL, UniformTarget, as_target

__all__ = ["BIMODAL", "GaussianMixture", "UniformTarget", "as_target"]
