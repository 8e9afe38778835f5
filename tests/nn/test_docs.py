"""What help() tells of layers: every argument, shapes, errors, examples; and what errors say."""

from __future__ import annotations

import ast
import doctest
import inspect
import pydoc
import re
import sys
from typing import Any

import pytest
import torch

from distfit_nn import nn as dnn
from distfit_nn.errors import InputError
from distfit_nn.nn.base import ColumnNorm
from distfit_nn.nn.docstrings import ORDER, completed_by, sections

LAYERS: dict[str, Any] = {
    name: kind
    for name in dnn.__all__
    if isinstance(kind := getattr(dnn, name), type) and issubclass(kind, ColumnNorm)
}
IMAGES = [name for name in LAYERS if name.endswith("2d")]
SHARED = list(inspect.signature(torch.nn.BatchNorm1d).parameters)[:7]

each = pytest.mark.parametrize("name", LAYERS)


def entries(part: str) -> list[str]:
    """Return the names that a section of a docstring tells of."""
    heads = [line.partition(" : ")[0] for line in part.split("\n") if line and line[0] != " "]
    return [name for head in heads for name in head.split(", ")]


def told(name: str) -> dict[str, str]:
    return sections(LAYERS[name].__doc__)


def test_all_layers_are_here() -> None:
    assert len(LAYERS) == 11


@each
def test_arguments(name: str) -> None:
    arguments = inspect.signature(LAYERS[name]).parameters
    assert list(arguments)[:7] == SHARED
    assert all(arguments[one].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD for one in SHARED)
    own = list(arguments)[7:]
    assert all(arguments[one].kind is inspect.Parameter.KEYWORD_ONLY for one in own)
    assert {"feature_dim", "sync"} <= set(own)
    documented = entries(told(name)["Parameters"])
    assert sorted(documented) == sorted(arguments)


@each
def test_defaults(name: str) -> None:
    text = told(name)["Parameters"]
    for one, parameter in inspect.signature(LAYERS[name]).parameters.items():
        said = re.search(rf"^{one} : .*, default (\S+)$", text, re.MULTILINE)
        if said:
            assert ast.literal_eval(said[1]) == parameter.default


@each
def test_sections(name: str) -> None:
    parts = told(name)
    wanted = {"", *ORDER} - ({"References"} if name.startswith("Trimmed") else set())
    assert set(parts) == wanted
    assert all(parts.values())
    assert "InputError" in parts["Raises"]
    assert "(..., C)" in parts["Shape"]
    assert parts[""].split("\n")[0].endswith(".")


@pytest.mark.parametrize("name", IMAGES)
def test_images_have_their_own_shape(name: str) -> None:
    text = LAYERS[name].__doc__
    assert "(N, C, H, W)" in told(name)["Shape"]
    assert "N L" not in text
    assert "(N, C, L)" not in text
    assert f"import {name}" in told(name)["Examples"]


@each
def test_shapes_are_those_taken(name: str) -> None:
    kind, shape = LAYERS[name], told(name)["Shape"]
    texts = {2: "(N, C)", 3: "(N, C, L)", 4: "(N, C, H, W)", 5: "(N, C, D, H, W)"}
    for dims, text in texts.items():
        x = torch.randn(6, 3, 2, 2, 2)[(...,) + (0,) * (5 - dims)]
        if text in shape:
            assert kind(3)(x).shape == x.shape
        else:
            with pytest.raises(InputError, match="dimensions, with 3 features in dimension 1, got"):
                kind(3)(x)
        last = x.movedim(1, -1)
        assert kind(3, feature_dim=-1)(last).shape == last.shape


@each
def test_attributes_are_there(name: str) -> None:
    documented = set(entries(told(name)["Attributes"]))
    layer = LAYERS[name](3)
    kept = {*dict(layer.named_parameters()), *dict(layer.named_buffers())}
    assert kept <= documented
    options: list[dict[str, Any]] = [{}]
    options += [{"test_phase": "linear"}] if "Copula" in name else []
    options += [{"form": "closed"}] if "KL" in name else []
    assert all(any(hasattr(LAYERS[name](3, **o), one) for o in options) for one in documented)


@each
def test_examples_are_run(name: str) -> None:
    kind = LAYERS[name]
    module = sys.modules[kind.__module__]
    found = {test.name: test for test in doctest.DocTestFinder().find(module)}
    assert found[f"{module.__name__}.{name}"].examples


@each
def test_help_shows_it(name: str) -> None:
    shown = pydoc.plain(pydoc.render_doc(LAYERS[name]))
    for part in told(name):
        assert part in shown
    assert "recalibrate" in shown  # in the place of torch's update_bn, which knows no other layers
    assert "base.ColumnNorm`" not in shown


def test_sections_are_lent() -> None:
    class Lender:
        """First.

        More.

        Notes
        -----
        Of the lender.

        Raises
        ------
        Error
            At night.
        """

    @completed_by(Lender)
    class Own:
        """Own.

        Notes
        -----
        Own notes.
        """

    @completed_by(Lender, summary=False)
    class Short:
        """Short."""

    assert sections(Own.__doc__ or "") == {
        "": "Own.\n\nMore.",
        "Raises": "Error\n    At night.",
        "Notes": "Own notes.",
    }
    assert sections(Short.__doc__ or "")[""] == "Short."
    assert (Own.__doc__ or "").index("Raises") < (Own.__doc__ or "").index("Notes")


@each
def test_an_unknown_keyword_is_told_of_by_a_public_name(name: str) -> None:
    with pytest.raises(TypeError, match=r"^[A-Z]\w+\.__init__\(\) got an unexpected keyword"):
        LAYERS[name](3, unknown=1)


@each
def test_a_wrong_shape_is_told_of(name: str) -> None:
    with pytest.raises(InputError, match=r"in its last dimension, got shape \(4, 5\)"):
        LAYERS[name](3, feature_dim=-1)(torch.ones(4, 5))
    with pytest.raises(InputError, match="1 feature in its last dimension, got shape"):
        LAYERS[name](1, feature_dim=-1)(torch.ones(4, 5))


@pytest.mark.parametrize("order", [1, 9, 0, -3, 2.5, "4", True, None])
def test_orders_have_one_rule(order: Any) -> None:
    with pytest.raises(InputError, match="order must be a whole number from 2 to 8, got"):
        dnn.MomentNorm1d(3, order=order)


def test_print_shows_no_strength_that_is_not_so() -> None:
    layer = dnn.CopulaNorm1d(3, strength=5.0)
    layer.load_state_dict(dnn.CopulaNorm1d(3, strength=50.0).state_dict())
    assert "strength=5" not in repr(layer)
    assert repr(layer) == (
        "CopulaNorm1d(3, eps=1e-10, momentum=0.1, affine=True, track_running_stats=True, "
        "learn_strength=True, test_phase='table')"
    )


@pytest.mark.parametrize("name", ["KLNorm1d", "MLENorm1d"])
def test_gradient_accumulation_as_the_notes_say(name: str) -> None:
    """Four times (loss / 4).backward() with a quarter of the weight is one mean over four."""
    option = "kl_weight" if name == "KLNorm1d" else "mle_weight"
    gen = torch.Generator().manual_seed(0)
    x = torch.randn(4, 64, 3, generator=gen) * 2 + 1
    plain, quarter = LAYERS[name](3, **{option: 0.0}), LAYERS[name](3, **{option: 0.25})
    for layer in (plain, quarter):
        for part in x:
            loss = layer(part).square().mean() / 4
            if layer is plain:
                loss = loss + layer.penalty(part) / 4
            loss.backward()
    torch.testing.assert_close(quarter.shift.grad, plain.shift.grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(quarter.log_scale.grad, plain.log_scale.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["CopulaNorm1d", "MomentNorm1d"])
def test_one_row_gives_the_median_of_the_target(name: str) -> None:
    layer = LAYERS[name](2, target=torch.distributions.Gumbel(1.0, 2.0))
    with torch.no_grad():
        layer.weight.fill_(3.0)
        layer.bias.fill_(-1.0)
    median = torch.distributions.Gumbel(1.0, 2.0).icdf(torch.tensor(0.5))
    y = layer(torch.tensor([[5.0, -7.0]]))
    torch.testing.assert_close(y, (3.0 * median - 1.0).expand(1, 2), rtol=1e-5, atol=1e-5)
