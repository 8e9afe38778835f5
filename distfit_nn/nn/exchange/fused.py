"""torch's fused transformer layers, which read their norms' weights and call neither norm nor ReLU.

`torch.nn.TransformerEncoderLayer` in eval mode computes LayerNorm and its activation within one
kernel: another layer in their place would be passed over without a word.
"""

from __future__ import annotations

from torch import nn
from torch.nn import functional as F

_RELU, _GELU = 1, 2  # torch's own codes of what the kernel can do; 0 is anything else


def update(model: nn.Module) -> None:
    """Let the transformer layers of a model be fused where the kernel does what they say.

    Call it after a norm or an activation was exchanged.
    """
    modules = list(model.modules())
    for layer in modules:
        if isinstance(layer, nn.TransformerEncoderLayer):
            layer.activation_relu_or_gelu = _code(layer)
    for stack in modules:
        if isinstance(stack, nn.TransformerEncoder):
            codes = [getattr(layer, "activation_relu_or_gelu", 0) for layer in stack.layers]
            stack.use_nested_tensor = stack.use_nested_tensor and all(codes)


def _code(layer: nn.TransformerEncoderLayer) -> int:
    if not all(isinstance(norm, nn.LayerNorm) for norm in (layer.norm1, layer.norm2)):
        return 0
    activation = layer.activation
    if activation is F.relu or isinstance(activation, nn.ReLU):
        return _RELU
    return _GELU if activation is F.gelu or isinstance(activation, nn.GELU) else 0
