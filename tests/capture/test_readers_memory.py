"""Hidden states, attentions, and histograms: what is neither one array nor a file of arrays."""

from __future__ import annotations

import os
import struct
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import distfit_nn as dn
from distfit_nn.capture.readers import read, tensorboard
from distfit_nn.capture.readers.events import Histogram
from distfit_nn.capture.readers.tensorboard import laid_out
from distfit_nn.errors import FileError, InputError


def layers(source: Any, **options: Any) -> dict[str, np.ndarray]:
    return {entry.layer: entry.values for entry in read(source, **options)}


# ---- what a model returns


class Output(OrderedDict):
    """As transformers' ModelOutput: a dict that can be had as a tuple."""

    def to_tuple(self) -> tuple[Any, ...]:
        return tuple(self.values())


@pytest.fixture
def states(rng) -> tuple[torch.Tensor, ...]:
    return tuple(torch.tensor(rng.normal(size=(2, 5, width))) for width in (3, 4, 4))


def test_hidden_states_are_layers_whose_last_axis_is_units(states):
    for source in (states, list(states), tuple(state.numpy() for state in states)):
        found = layers(source)
        assert list(found) == [f"hidden_states.{place}" for place in range(3)]
        for values, state in zip(found.values(), states, strict=True):
            np.testing.assert_array_equal(values, state.reshape(10, -1))
    assert list(layers({"encoder": states, "x": np.ones((2, 2))})) == [
        *(f"encoder.{place}" for place in range(3)), "x",
    ]  # fmt: skip
    generated = (states, states)  # as generate() has them: a tuple of layers for each token
    assert list(layers(generated))[-1] == "hidden_states.1.2"
    images = layers((torch.ones(2, 3, 5, 5),), unit_axis=1)
    assert images["hidden_states.0"].shape == (50, 3)


def test_lists_that_were_arrays_before_still_are():
    np.testing.assert_array_equal(layers([[1.0, 2.0], [3.0, 4.0]])["x"], [[1, 2], [3, 4]])
    assert layers([np.ones(3), np.ones(3)])["x"].shape == (2, 3)
    assert layers({"a": [1.0, 2.0]})["a"].shape == (2, 1)


def test_the_states_of_an_output(states, rng):
    attention = torch.tensor(rng.random(size=(2, 6, 5, 7)))
    output = Output(
        logits=torch.ones(2, 5, 9), past_key_values=object(), encoder_hidden_states=states,
        decoder_hidden_states=states[:1], cross_attentions=(attention,),
    )  # fmt: skip
    found = layers(output)
    assert list(found) == [
        *(f"encoder_hidden_states.{place}" for place in range(3)),
        "decoder_hidden_states.0", "cross_attentions.0",
    ]  # fmt: skip
    heads = attention.permute(0, 2, 3, 1).reshape(-1, 6)
    np.testing.assert_array_equal(found["cross_attentions.0"], heads)
    bare = Output(loss=torch.tensor(1.0), logits=torch.ones(2, 5, 9), last=states[0])
    assert {name: values.shape for name, values in layers(bare).items()} == {
        "logits": (10, 9), "last": (10, 3),
    }  # fmt: skip
    with pytest.raises(InputError, match="holds no tensors"):
        layers(Output(loss=torch.tensor(1.0)))


@pytest.mark.slow
def test_a_model_of_transformers():
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=32, attn_implementation="eager",
    )  # fmt: skip
    model = transformers.BertModel(config).eval()
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])
    output = model(
        torch.ones(2, 4, dtype=torch.long), mask, output_hidden_states=True, output_attentions=True
    )
    found = layers(output)
    assert list(found) == [
        *(f"hidden_states.{place}" for place in range(3)), "attentions.0", "attentions.1",
    ]  # fmt: skip
    assert found["attentions.0"].shape == (2 * 4 * 4, 4)
    analysis = dn.analyze(output.hidden_states)
    assert analysis.layers["layer"].tolist() == [f"hidden_states.{place}" for place in range(3)]
    assert (analysis.layers["units"] == 16).all()
    kept = layers(output.hidden_states, mask=mask)
    np.testing.assert_array_equal(
        kept["hidden_states.1"], output.hidden_states[1].detach()[mask.bool()]
    )


def test_a_mask_leaves_padding_out(states):
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 0, 0, 0, 0]])
    assert dn.analyze(states, mask=mask).units["n"].tolist() == [4] * 11
    found = layers(states, mask=mask)
    for values, state in zip(found.values(), states, strict=True):
        np.testing.assert_array_equal(values, state[mask.bool()])
    assert [entry.rows_seen for entry in read(states, mask=mask)] == [4, 4, 4]
    assert layers([1.0, 2.0, 3.0], mask=[True, False, True])["x"].tolist() == [[1.0], [3.0]]
    for bad, told in (
        (mask.T, "mask has shape (5, 2), the first axes of layer 'hidden_states.0'"),
        (mask * 0, "mask must keep at least one row"),
        (mask * 2, "mask must be an array of True and False"),
        (1, "mask must be an array of True and False"),
        ("no", "mask must be an array of real numbers"),
    ):
        with pytest.raises(InputError) as caught:
            layers(states, mask=bad)
        assert told in str(caught.value)


# ---- TensorBoard


@pytest.fixture
def log(tmp_path, rng) -> Path:
    """A folder in which torch's writer has written some histograms and more."""
    tensorboard = pytest.importorskip("torch.utils.tensorboard")
    with tensorboard.SummaryWriter(tmp_path / "log") as writer:
        for step in (0, 10):
            writer.add_histogram("fc1/weight", rng.normal(size=20_000) + step, step)
            writer.add_scalar("loss", 0.5, step)
        writer.add_histogram("few", np.array([1.0, 2.0, 4.0]), 3)
        writer.add_text("note", "hello", 0)
    return tmp_path / "log"


def test_histograms_are_layers_and_steps(log):
    (file,) = log.iterdir()
    for source in (log, file):
        found = {(entry.layer, entry.step): entry for entry in read(source)}
        assert sorted(found) == [("fc1/weight", 0), ("fc1/weight", 10), ("few", 3)]
        entry = found["fc1/weight", 10]
        assert (entry.values.shape, entry.rows_seen, entry.site) == ((5000, 1), 20_000, "values")
        assert entry.values.mean() == pytest.approx(10, abs=0.1)
        assert entry.values.std() == pytest.approx(1, rel=0.1)  # its buckets are a tenth wide
        assert found["few", 3].values.shape == (3, 1)
    analysis = dn.analyze(log)
    assert analysis.layers["step"].tolist() == [0, 10, 3]


def test_runs_in_a_folder_and_the_last_of_one_step(log, rng, tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(log / "validation") as writer:
        for shift in (0.0, 5.0):
            writer.add_histogram("few", rng.normal(size=500) + shift, 3)
    found = {entry.layer: entry for entry in read(log) if entry.step == 3}
    assert sorted(found) == ["few", "validation/few"]
    assert found["validation/few"].values.mean() == pytest.approx(5, abs=0.3)
    (log / "validation" / "tfevents.link").symlink_to("/etc/hostname")
    with pytest.raises(FileError, match="a link in a folder is not followed"):
        layers(log)


def test_a_live_log_and_a_damaged_one(log):
    (file,) = log.iterdir()
    content = file.read_bytes()
    whole = {(entry.layer, entry.step) for entry in read(file)}
    found = set()
    for size in range(0, len(content), 97):
        file.write_bytes(content[:size])
        try:
            here = {(entry.layer, entry.step) for entry in read(file)}
        except FileError:
            here = set()
        assert found <= here <= whole
        found = here
    file.write_bytes(content[:9] + b"\xff" + content[10:])
    with pytest.raises(FileError, match="the record at byte 0 is damaged"):
        layers(file)
    for options, told in (({"unit_axis": 1}, "unit_axis"), ({"mask": [1]}, "mask")):
        with pytest.raises(InputError, match=f"histograms take no {told}"):
            read(file, **options)


def test_a_folder_is_looked_through_within_limits(log, tmp_path, monkeypatch):
    (file,) = log.iterdir()
    for depth in range(5):
        folder = tmp_path / str(depth)
        below = folder.joinpath(*"abcd"[:depth])
        below.mkdir(parents=True)
        (below / file.name).write_bytes(file.read_bytes())
        if depth <= 3:
            assert len(list(read(folder))) == 3
        else:
            with pytest.raises(FileError, match="3 folders deep, among 10,000 names at most"):
                read(folder)
    looked = []
    with monkeypatch.context() as patch:
        scandir = os.scandir
        patch.setattr(os, "scandir", lambda path: looked.append(path) or scandir(path))
        patch.setattr(tensorboard, "MOST_ENTRIES", 1)
        assert len(list(read(log))) == 3
        (tmp_path / "many").mkdir()
        for name in "ab":
            (tmp_path / "many" / name).mkdir()
        looked.clear()
        assert not tensorboard.has_events(tmp_path / "many")
        assert len(looked) == 1
        (log / f"{file.name}.2").write_bytes(file.read_bytes())
        with pytest.raises(FileError, match="more than 1 files and folders, too many"):
            layers(log)


def test_the_whole_file_system_is_not_searched():
    before = time.perf_counter()
    with pytest.raises(FileError, match=r"\(3 folders deep|too many to look"):
        layers("/")
    assert time.perf_counter() - before < 20


def record(data: bytes) -> bytes:
    """A record as TensorFlow writes it; its own checksum is that of the reader's library."""
    from tensorboard.summary.writer.record_writer import masked_crc32c

    head = struct.pack("<Q", len(data))
    return (
        head
        + struct.pack("<I", masked_crc32c(head))
        + data
        + struct.pack("<I", masked_crc32c(data))
    )


def test_the_histograms_of_tensorflow_2(tmp_path):
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.plugins.histogram.summary_v2 import histogram_pb
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb

    event = Event(step=7, summary=histogram_pb("fc", np.linspace(0, 1, 400), buckets=10))
    event.summary.MergeFrom(scalar_pb("loss", 0.5))
    path = tmp_path / "events.out.tfevents.1.host.v2"
    path.write_bytes(record(event.SerializeToString()))
    (entry,) = read(path)
    assert (entry.layer, entry.step, entry.rows_seen) == ("fc", 7, 400)
    np.testing.assert_allclose(entry.values[:, 0], (np.arange(400) + 0.5) / 400, atol=0.01)


@pytest.mark.parametrize(
    ("least", "greatest", "limits", "counts", "told"),
    [
        (0.0, 1.0, [1.0], [2.0, 3.0], "not as many edges as counts"),
        (1.0, 0.0, [1.0], [2.0], "reaches from 1.0 to 0.0"),
        (0.0, float("nan"), [1.0], [2.0], "reaches from 0.0 to nan"),
        (0.0, 1.0, [float("nan")], [2.0], "counts or edges that are none"),
        (0.0, 1.0, [1.0], [-2.0], "counts or edges that are none"),
        (0.0, 1.0, [1.0], [float("inf")], "counts or edges that are none"),
        (0.0, 1.0, [0.5, 1.0], [1e308, 1e308], "counts or edges that are none"),
        (0.0, 1.0, [0.5, 1.0], [0.0, 0.0], "holds no histograms"),
    ],
)
def test_histograms_that_are_none(tmp_path, least, greatest, limits, counts, told):
    from tensorboard.compat.proto.event_pb2 import Event

    event = Event(step=1)
    histogram = event.summary.value.add(tag="x").histo
    histogram.min, histogram.max = least, greatest
    histogram.bucket_limit.extend(limits)
    histogram.bucket.extend(counts)
    path = tmp_path / "x.tfevents"
    path.write_bytes(record(event.SerializeToString()))
    with pytest.raises(FileError, match=told) as caught:
        layers(path)
    assert str(caught.value).startswith(f"{path}: ")


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.floats(0, 10), st.integers(0, 300)), min_size=1, max_size=20).filter(
        lambda buckets: sum(count for _, count in buckets) > 0
    ),
    st.floats(-100, 100),
)
def test_values_of_a_histogram_fill_its_buckets(buckets, low):
    """Each bucket gets its share of the values: exactly, where there are no more than 5,000."""
    widths, counts = (np.array(part, float) for part in zip(*buckets, strict=True))
    edges = np.concatenate([[low], low + np.cumsum(widths)])
    values = laid_out(Histogram("x", 0, edges, counts))
    total = int(counts.sum())
    assert len(values) == min(total, 5000)
    assert (np.diff(values) >= -1e-9).all()
    reached = np.concatenate([[0], np.cumsum(counts)]) / total
    slack = 1e-9 * max(1, np.abs(edges).max())
    for edge, share in zip(edges, reached, strict=True):
        below = np.mean(values < edge - slack)
        not_above = np.mean(values <= edge + slack)
        assert below - 0.5 / len(values) - 1e-9 <= share <= not_above + 0.5 / len(values) + 1e-9
