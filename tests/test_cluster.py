"""A Dask cluster gives the numbers of one process, whatever happens to its workers."""

from __future__ import annotations

import os
import signal

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import distfit_nn as dn
from distfit_nn import cluster
from distfit_nn.capture import entries
from distfit_nn.capture.store import StoreWriter
from distfit_nn.cli import app
from distfit_nn.errors import FileError, InputError

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client():
    """A cluster of two processes on this machine."""
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, protocol="tcp"
        ) as workers,
        distributed.Client(workers) as client,
    ):
        yield client


@pytest.fixture
def store(tmp_path, rng, monkeypatch):
    """A store of many parts, which are cut in this process."""
    monkeypatch.setattr(entries, "PART", 20_000)
    with StoreWriter(tmp_path / "run") as writer:
        for step in (0, 100):
            for _ in range(10):
                x = rng.normal(size=(1000, 100)).astype(np.float32)
                writer.add(x + step, layer="fc", site="values", step=step)
    return tmp_path / "run"


def assert_same(found, expected):
    pd.testing.assert_frame_equal(found.units, expected.units, check_exact=True)
    pd.testing.assert_frame_equal(found.layers, expected.layers, check_exact=True)


def test_the_same_bits_as_one_process(client, store):
    seen = []
    found = dn.analyze(store, client=client, progress=lambda _, rows: seen.append(rows))
    assert_same(found, dn.analyze(store))
    assert seen[0] == 0
    assert seen.count(10_000) == 2


def test_less_memory_and_arrays_in_memory(client, store, rng):
    assert_same(dn.analyze(store, client=client, memory_limit="1MB"), dn.analyze(store))
    x = rng.normal(size=(3000, 4))
    assert_same(dn.analyze(x, client=client), dn.analyze(x))


def test_a_worker_that_is_killed_loses_nothing(client, store):
    killed = []

    def kill(entry, rows):
        if rows > 2000 and not killed:
            pid = client.run(os.getpid)
            killed.append(next(iter(pid.values())))
            os.kill(killed[0], signal.SIGKILL)

    assert_same(dn.analyze(store, client=client, progress=kill), dn.analyze(store))
    assert killed


def test_the_command_line(client, store, tmp_path):
    address = client.scheduler.address
    run = CliRunner().invoke(app, ["analyze", str(store), "--scheduler", address, "--json"])
    assert run.exit_code == 0
    alone = CliRunner().invoke(app, ["analyze", str(store), "--json"])
    strip = "\n".join
    lines = [text.splitlines() for text in (run.stdout, alone.stdout)]
    one, two = (strip(line for line in text if "created" not in line) for text in lines)
    assert one == two


def test_a_store_that_workers_cannot_read(client, store):
    shard = next(store.glob("*.safetensors"))
    content = shard.read_bytes()

    def damage(entry, rows):
        shard.write_bytes(content[: len(content) // 2])

    with pytest.raises(FileError, match="ends at byte"):
        dn.analyze(store, client=client, progress=damage)


def test_what_is_no_scheduler():
    problem = r"there is no Dask scheduler at 'tcp://127\.0\.0\.1:1'"
    short = dask.config.set({"distributed.comm.timeouts.connect": "1s"})
    with pytest.raises(InputError, match=problem), short, cluster.connected("tcp://127.0.0.1:1"):
        pass
    with pytest.raises(InputError, match=r"client must be a dask\.distributed\.Client, got int"):
        dn.analyze(np.zeros((3, 2)), client=3)


def test_a_client_that_is_closed(client):
    with distributed.Client(client.scheduler.address, set_as_default=False) as closed:
        pass
    with pytest.raises(InputError, match="client is not connected to a scheduler any more"):
        dn.analyze(np.zeros((3, 2)), client=closed)
