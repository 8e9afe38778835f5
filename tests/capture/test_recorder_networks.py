"""Networks written by others, from small configurations: recorded as by hand-written hooks."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import distfit_nn as dn
from distfit_nn.capture.readers import read
from tests.capture.test_recorder import clean

pytestmark = pytest.mark.slow
NORM = re.compile(r"Norm")
ACTIVATION = re.compile(r"(GELU|SiLU|ReLU|Tanh)\w*$")


def by_hand(model: nn.Module, run: Callable[[], Any]) -> dict[tuple[str, str], np.ndarray]:
    """Return what norms and activation modules are given and give, by plain hooks."""
    found: dict[tuple[str, str], np.ndarray] = {}
    handles = []

    def note(name: str, site: str, tensor: Tensor) -> None:
        call = sum(key[0].partition("#")[0] == name and key[1] == site for key in found)
        layer = f"{name}#{call}" if call else name
        found[layer, site] = tensor.detach().clone().reshape(-1, tensor.shape[-1]).numpy()

    for name, module in model.named_modules():
        kind = type(module).__name__
        if NORM.search(kind):
            handles.append(module.register_forward_pre_hook(
                lambda _, args, name=name: note(name, "norm_input", args[0])))  # fmt: skip
            handles.append(module.register_forward_hook(
                lambda _, __, out, name=name: note(name, "norm_output", out)))  # fmt: skip
        elif ACTIVATION.search(kind):
            handles.append(module.register_forward_pre_hook(
                lambda _, args, name=name: note(name, "pre_activation", args[0])))  # fmt: skip
    run()
    for handle in handles:
        handle.remove()
    return found


def check(path: Path, model: nn.Module, run: Callable[[], Any], extra: set[str]) -> None:
    """Compare all that plain hooks see, and the rest by the names of its activations."""
    model.eval()
    with torch.no_grad():
        expected = by_hand(model, run)
        with dn.record(model, path, ["pre_activation", "norm"], missing="warn"):
            run()
    assert clean(model)
    found = {(entry.layer, entry.site): entry.values for entry in read(path)}
    for key, values in expected.items():
        np.testing.assert_array_equal(found.pop(key), values, err_msg=str(key))
    assert {layer.rpartition(".")[2].partition("#")[0] for layer, _ in found} == extra
    assert {site for _, site in found} <= {"pre_activation"}


TOKENS = torch.arange(20).reshape(2, 10) % 7 + 1
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", ["GPT2", "Bert", "Llama", "ViT", "T5"])
def test_transformers_are_recorded_as_by_hand(tmp_path, name, attention):
    transformers = pytest.importorskip("transformers")
    if name == "T5" and attention == "sdpa":
        pytest.skip("T5 has attention of its own")
    small = {**SMALL, "vocab_size": 32, "intermediate_size": 24, "attn_implementation": attention}
    options: dict[str, Any] = {
        "GPT2": {"vocab_size": 32, "n_embd": 16, "n_layer": 2, "n_head": 2},
        "ViT": {**SMALL, "intermediate_size": 24, "image_size": 8, "patch_size": 4},
        "T5": {"vocab_size": 32, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2,
               "num_heads": 2, "decoder_start_token_id": 0},
    }.get(name, small)  # fmt: skip
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**{**options, "attn_implementation": attention})
    model = getattr(transformers, f"{name}Model")(config).eval()
    given = {"input_ids": TOKENS}
    if name == "ViT":
        given = {"pixel_values": torch.randn(3, 3, 8, 8)}
    elif name == "T5":
        given["decoder_input_ids"] = TOKENS[:, :6]
    check(
        tmp_path / "s",
        model,
        lambda: model(**given),
        {"softmax"} if attention == "eager" else set(),
    )


@pytest.fixture
def slow_path() -> Iterator[None]:
    """Switch torch's fused kernels off: hooks on all modules do so, those on the norms do not."""
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(True)


@pytest.mark.usefixtures("slow_path")
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_torchs_transformer_is_recorded_as_by_hand(tmp_path, batch_first, norm_first):
    """Its activations are functions: found under the layer's name, with every feed-forward unit."""
    torch.manual_seed(0)
    model = nn.Transformer(
        16, 2, 2, 2, 24, activation="gelu", batch_first=batch_first, norm_first=norm_first
    )
    one, other = torch.randn(5, 5, 16), torch.randn(5, 5, 16)
    check(tmp_path / "s", model, lambda: model(one, other), {"gelu"})
    gelus = [e for e in read(tmp_path / "s") if e.layer.endswith("gelu")]
    assert len(gelus) == 4
    with torch.no_grad():
        inner = model.encoder.layers[0].linear1
        seen: list[Tensor] = []
        handle = inner.register_forward_hook(lambda _, __, out: seen.append(out))
        model(one, other)
        handle.remove()
    assert gelus[0].layer == "encoder.layers.0.gelu"
    np.testing.assert_array_equal(gelus[0].values, seen[0].reshape(-1, 24).numpy())


def small(name: str) -> nn.Module:
    """Return a network of transformers, from a small configuration."""
    transformers = pytest.importorskip("transformers")
    options: dict[str, Any] = {
        "GPT2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "bos_token_id": 1, "eos_token_id": 2},
        "Mamba": {"hidden_size": 16, "num_hidden_layers": 2, "state_size": 4},
    }[name]
    config = getattr(transformers, f"{name}Config")(vocab_size=32, **options)
    return getattr(transformers, f"{name}Model")(config).eval()


def test_every_module_of_a_transformer_by_a_wildcard(tmp_path):
    """Its list of blocks is never called, nor is the dropout that the fused attention contains."""
    model = small("GPT2")
    with (
        pytest.warns(UserWarning, match=r"of which 2 recorded nothing: h\.0\.attn\.attn_dropout"),
        dn.record(model, tmp_path / "s", "*"),
    ):
        model(input_ids=TOKENS)
    layers = {entry.layer for entry in read(tmp_path / "s")}
    assert {"h.0", "h.1.mlp.act", "ln_f"} <= layers
    assert "h" not in set(dn.sites(model, {"input_ids": TOKENS}, "*")["layer"])


def test_an_activation_that_is_called_as_a_function_is_no_miss(tmp_path):
    model = small("Mamba")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with dn.record(model, tmp_path / "s"):
            model(input_ids=TOKENS)
    assert "layers.1.mixer.silu" in {entry.layer for entry in read(tmp_path / "s")}
