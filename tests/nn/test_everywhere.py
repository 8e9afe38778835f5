"""All layers where BatchNorm runs: dtypes, memory formats, compilers, copies, accumulation."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from tests import tolerances
from tests.devices import one_thread  # noqa: F401
from tests.nn.cases import CASES, EVERY, PLANES, Case, batch, name_of, trained

every = pytest.mark.parametrize("case", EVERY, ids=name_of)

# What takes seconds for a layer: one of each family at once, all of them among the slow tests.
FAMILIES = ("log_shift", "kl", "trimmed", "moment4", "copula")
families = pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case, marks=() if case.name in FAMILIES and case.dims == 1 else pytest.mark.slow
        )
        for case in EVERY
    ],
    ids=name_of,
)


def ready(case: Case, **options: object) -> nn.Module:
    """Return a layer in eval mode that has seen some batches."""
    return trained(case(3, **options), batch(case, rows=48)).eval()


@every
@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
def test_half_precision_in_and_out(case: Case, training: bool):
    x = batch(case, rows=48)
    layer = ready(case).train(training)
    expected = copy.deepcopy(layer)(x.bfloat16().float())
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x.bfloat16())
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y, expected.bfloat16(), rtol=2**-7, atol=2**-9)


@every
def test_float64_and_float32_agree(case: Case):
    x = batch(case, rows=48, dtype=torch.float64)
    double, single = case(3, dtype=torch.float64), case(3)
    y = double(x)
    assert y.dtype == torch.float64
    torch.testing.assert_close(single(x.float()), y.float(), **tolerances.LAYER_SINGLE)
    double.eval(), single.eval()
    torch.testing.assert_close(single(x.float()), double(x).float(), **tolerances.LAYER_SINGLE)


@every
def test_module_casts(case: Case):
    layer = ready(case)
    x = batch(case, rows=48)
    y = layer(x)
    torch.testing.assert_close(layer.double()(x.double()).float(), y, **tolerances.LAYER_SINGLE)
    assert layer.bfloat16()(x.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("case", PLANES, ids=name_of)
@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
def test_channels_last(case: Case, training: bool):
    x = batch(case, rows=48)
    layer = ready(case).train(training)
    other = copy.deepcopy(layer)
    first = x.clone().requires_grad_()
    last = x.clone().contiguous(memory_format=torch.channels_last).requires_grad_()
    y, z = layer(first), other(last)
    assert y.is_contiguous()
    assert z.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(z, y)
    weights = torch.linspace(-1, 1, y.numel()).reshape(y.shape)
    y.backward(weights)
    z.backward(weights)
    torch.testing.assert_close(last.grad, first.grad, **tolerances.LAYER_SINGLE)


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_sequences_with_features_last(case: Case):
    x = batch(case, rows=48)
    layer, last = ready(case).train(), None
    last = case(3, feature_dim=-1)
    last.load_state_dict(layer.state_dict())
    torch.testing.assert_close(last.train()(x.reshape(6, 8, 3)).reshape(48, 3), layer(x))
    torch.testing.assert_close(last.eval()(x.reshape(6, 8, 3)).reshape(48, 3), layer.eval()(x))


@families
def test_compiled_in_eval_as_one_graph(case: Case):
    layer, x = ready(case), batch(case, rows=48)
    expected = layer(x)
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), expected, **tolerances.LAYER_SINGLE)
    x = x.requires_grad_()
    compiled(x).sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("case", [CASES[0], CASES[3], CASES[8], CASES[11], *PLANES], ids=name_of)
def test_compiled_by_inductor(case: Case):
    layer, x = ready(case), batch(case, rows=48)
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True)
    torch.testing.assert_close(compiled(x), layer(x), **tolerances.LAYER_SINGLE)


@families
def test_compiled_in_training_it_works(case: Case):
    x = batch(case, rows=48)
    layer, other = case(3), case(3)
    torch._dynamo.reset()
    compiled = torch.compile(other, backend="aot_eager")
    for _ in range(2):
        torch.testing.assert_close(compiled(x), layer(x), **tolerances.LAYER_SINGLE)
    for one, two in zip(layer.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(two, one, **tolerances.LAYER_SINGLE)


@families
@pytest.mark.parametrize(
    "strict", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["strict", "loose"]
)
def test_exported_in_eval(case: Case, strict: bool):
    layer, x = ready(case), batch(case, rows=48)
    rows = torch.export.Dim("rows", min=2)
    program = torch.export.export(layer, (x,), dynamic_shapes=({0: rows},), strict=strict)
    other = batch(case, rows=96)
    torch.testing.assert_close(program.module()(other), layer(other), **tolerances.LAYER_SINGLE)


@every
def test_state_goes_both_ways(case: Case):
    layer, x = ready(case), batch(case, rows=48)
    fresh = case(3)
    assert set(fresh.state_dict()) == set(layer.state_dict())
    fresh.eval().load_state_dict(layer.state_dict(), strict=True)
    torch.testing.assert_close(fresh(x), layer(x), rtol=0, atol=0)
    back = case(3).eval()
    layer.load_state_dict(back.state_dict(), strict=True)
    torch.testing.assert_close(layer(x), back(x), rtol=0, atol=0)


@every
def test_state_survives_a_file(case: Case):
    layer, x = ready(case), batch(case, rows=48)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    fresh = case(3)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    torch.testing.assert_close(fresh.eval()(x), layer(x), rtol=0, atol=0)


@every
def test_copies_go_their_own_way(case: Case):
    layer, x = ready(case), batch(case, rows=48)
    twin = copy.deepcopy(layer)
    before = layer(x)
    torch.testing.assert_close(twin(x), before, rtol=0, atol=0)
    trained(twin, 3 * x + 1, steps=5).eval()
    torch.testing.assert_close(layer(x), before, rtol=0, atol=0)
    if not case.fixed and case.name not in ("kl", "mle"):
        assert (twin(x) - before).abs().max() > 0.1


@every
def test_functional_call_takes_other_state(case: Case):
    layer, x = ready(case), batch(case, rows=48)
    other = trained(case(3), 3 * x + 1, steps=5).eval()
    before = layer(x)
    y = torch.func.functional_call(layer, other.state_dict(), (x,))
    torch.testing.assert_close(y, other(x))
    torch.testing.assert_close(layer(x), before, rtol=0, atol=0)


@every
def test_a_buffer_changed_by_hand_counts(case: Case):
    layer, x = ready(case), batch(case, rows=48)
    other = trained(case(3), 3 * x + 1, steps=5).eval()
    with torch.no_grad():
        for mine, theirs in zip(
            layer.state_dict(keep_vars=True).values(),
            other.state_dict(keep_vars=True).values(),
            strict=True,
        ):
            mine.copy_(theirs)
    torch.testing.assert_close(layer(x), other(x))


@every
@pytest.mark.parametrize("reentrant", [True, False], ids=["reentrant", "not_reentrant"])
def test_checkpointing_changes_nothing(case: Case, reentrant: bool):
    layer, other = case(3), case(3)
    x = batch(case, rows=48)
    one, two = x.clone().requires_grad_(), x.clone().requires_grad_()
    layer(one).square().mean().backward()
    checkpoint(other, two, use_reentrant=reentrant).square().mean().backward()
    torch.testing.assert_close(two.grad, one.grad)
    for first, second in zip(layer.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(second.grad, first.grad)
    for first, second in zip(layer.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(second, first, rtol=0, atol=0)


@every
def test_two_batches_before_a_backward(case: Case):
    layer, other = case(3), case(3)
    x = batch(case, rows=48)
    first, second = x, 0.5 * x.flip(0) + 0.1
    (layer(first).square().mean() + layer(second).square().mean()).backward()
    for each in (first, second):
        other(each).square().mean().backward()
    for one, two in zip(layer.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(two.grad, one.grad, **tolerances.LAYER_SINGLE)


@pytest.mark.parametrize("case", [c for c in EVERY if not c.fixed], ids=name_of)
def test_without_running_statistics_a_batch_has_its_own(case: Case):
    if case.name in ("kl", "mle", "kl_1d"):
        pytest.skip("mu and sigma are parameters")
    x = batch(case, rows=48)
    layer = case(3, track_running_stats=False)
    torch.testing.assert_close(layer.eval()(x), case(3).train()(x))


@every
def test_inference_mode(case: Case):
    x = batch(case, rows=48)
    layer = ready(case)
    expected = layer(x)
    with torch.inference_mode():
        torch.testing.assert_close(layer(x), expected)
        fresh = case(3).eval()
        assert fresh(x).isfinite().all()


@every
def test_without_an_affine_part(case: Case):
    layer, plain = case(3), case(3, affine=False)
    assert not {"weight", "bias"} & set(plain.state_dict())
    x = batch(case, rows=48)
    torch.testing.assert_close(plain(x), layer(x))
    torch.testing.assert_close(plain.eval()(x), layer.eval()(x))


@every
@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
@pytest.mark.parametrize("affine", [True, False], ids=["affine", "plain"])
@pytest.mark.parametrize("layout", ["first", "last", "features_last"])
def test_what_follows_may_work_in_place(case: Case, training: bool, affine: bool, layout: str):
    x = batch(case, rows=48)
    options = {"feature_dim": -1} if layout == "features_last" else {}
    if layout == "features_last":
        x = x.movedim(1, -1)
    elif layout == "last" and case.dims == 2:
        x = x.contiguous(memory_format=torch.channels_last)
    layer = trained(case(3, affine=affine, **options), x).train(training)
    gradients = []
    for function in (torch.relu, torch.relu_):
        given = x.clone().requires_grad_()
        function(copy.deepcopy(layer)(given)).square().sum().backward()
        gradients.append(given.grad)
    torch.testing.assert_close(*gradients, rtol=0, atol=0)


@every
def test_second_derivatives_are_right_or_refused(case: Case):
    x = batch(case, rows=18, dtype=torch.float64).requires_grad_()
    layer = case(3, dtype=torch.float64)
    try:
        right = torch.autograd.gradgradcheck(layer, (x,), atol=tolerances.LAYER_GRADIENT)
    except RuntimeError as error:
        right = "once" in str(error)
    assert right
