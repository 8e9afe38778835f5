"""A store whose writer dies, or whose disk does: what was flushed is there, whole, and goes on."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from distfit_nn.capture import atomic
from distfit_nn.capture import lock as lock_module
from distfit_nn.capture import store as store_module
from distfit_nn.capture.claim import TEMPORARY
from distfit_nn.capture.lock import LOCK
from distfit_nn.capture.manifest import MANIFEST
from distfit_nn.capture.store import Store, StoreWriter
from distfit_nn.capture.verify import verify
from distfit_nn.errors import FileError


@pytest.fixture
def unsynced(monkeypatch):
    """Have nothing forced to disk: hundreds of stores in a test would take their time."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


class Killed(BaseException):
    """The process is gone: nothing that it still does has an effect."""


def add(writer: StoreWriter, step: int, rows: int = 3) -> None:
    writer.add(np.full((rows, 2), step, np.float32), layer="fc", site="values", step=step)


def steps(path: Path) -> list[int]:
    """The steps in a store that is whole; each array must hold its step."""
    found = verify(path)
    assert found.ok, found.problems
    for record, values in Store(path):
        np.testing.assert_array_equal(values, record.step)
    return [record.step for record in Store(path).records]


@contextmanager
def killed_at(
    monkeypatch: pytest.MonkeyPatch, step: int, *, once: bool = False
) -> Iterator[list[str]]:
    """Kill this process, as far as files can tell, at the step-th call that changes a file.

    A write is two calls: one after half of it. With `once` it is an interrupt: calls go on after.
    """
    done: list[str] = []

    def stepping(name, real):
        def call(*arguments, **options):
            if "killed" in done and not once:
                raise Killed
            if len(done) == step:
                done.append("killed")
                raise Killed
            done.append(name)
            return real(*arguments, **options)

        return call

    def write_all(write, content):
        stepping("half", lambda: write(memoryview(content)[: len(content) // 2]))()
        stepping("rest", lambda: write(memoryview(content)[len(content) // 2 :]))()

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", stepping("fsync", lambda _: None))
        for name in ("open", "replace", "unlink"):
            patch.setattr(os, name, stepping(name, getattr(os, name)))
        patch.setattr(atomic, "_write_all", write_all)
        with contextlib.suppress(Killed):
            yield done


@pytest.mark.parametrize("mode", ["a", "w"])
def test_a_writer_may_die_at_any_step(tmp_path, monkeypatch, unsynced, mode):
    monkeypatch.setattr(store_module, "FLUSH_SECONDS", -1.0)
    for step in range(200):
        path = tmp_path / f"{step}"
        with StoreWriter(path) as writer:
            add(writer, 0)
        flushed, old = [0], [0] if mode == "a" else []
        writer = StoreWriter(path, mode)
        with killed_at(monkeypatch, step) as done:
            add(writer, 1)
            writer.flush_if_due()
            flushed = [*old, 1]
            add(writer, 2)
            writer.flush_if_due()
            flushed = [*old, 1, 2]
            writer.flush()
            add(writer, 3)
            writer.flush()
            flushed = [*old, 1, 2, 3]
            writer.set_activation(0, "relu")
            writer.close()
            flushed = [*old, 1, 2, 3]
        writer._lock._file.close()  # as the kernel does
        found = steps(path)
        whole = [*old, 1, 2, 3]
        assert found == flushed or found in (whole[: len(flushed) + 1], [*old, 1]), done
        resumed = StoreWriter(path, "a")
        add(resumed, 9)
        resumed.close()
        assert steps(path) == [*found, 9]
        assert not [name for name in os.listdir(path) if TEMPORARY.fullmatch(name)]
        if "killed" not in done:
            break
    assert step > 25  # every step of the protocol was one to die at
    assert done.count("replace") == 9  # four shards, of which two are spares; five manifests


@pytest.mark.parametrize("mode", ["a", "w"])
def test_an_interrupt_at_any_step_loses_nothing(tmp_path, monkeypatch, unsynced, mode):
    """Ctrl-C, then close: all that was added is there, and nothing else."""
    monkeypatch.setattr(store_module, "FLUSH_SECONDS", -1.0)
    for step in range(200):
        path = tmp_path / f"{step}"
        with StoreWriter(path) as writer:
            add(writer, 0)
        writer = StoreWriter(path, mode)
        added = [0] if mode == "a" else []
        with killed_at(monkeypatch, step, once=True) as done:
            for number in (1, 2, 3):
                added.append(number)
                add(writer, number)
                (writer.flush if number == 2 else writer.flush_if_due)()
        writer.close()
        assert steps(path) == added
        assert len(verify(path).strays) <= 1  # where the removal of a spare was interrupted
        if "killed" not in done:
            break
    assert step > 20


def test_the_very_first_write_may_be_the_last(tmp_path, monkeypatch, unsynced):
    """Nothing was flushed: the next writer starts anew, whatever is left."""
    for step in range(40):
        path = tmp_path / f"{step}"
        writer = StoreWriter(path)
        with killed_at(monkeypatch, step) as done:
            add(writer, 1)
            writer.flush()
        writer._lock._file.close()
        there = (path / MANIFEST).exists()
        resumed = StoreWriter(path, "a")
        add(resumed, 2)
        resumed.close()
        assert steps(path) == ([1, 2] if there else [2])
        if "killed" not in done:
            break
    assert step > 8


def test_a_new_recording_does_not_take_shards_for_nothing(tmp_path):
    """They may be all that is left of a store whose manifest was lost."""
    with StoreWriter(tmp_path / "s") as writer:
        add(writer, 1)
    (tmp_path / "s" / MANIFEST).unlink()
    with pytest.raises(FileError, match="shards but no manifest"):
        StoreWriter(tmp_path / "s")
    with StoreWriter(tmp_path / "s", "a") as writer:
        add(writer, 2)
    assert steps(tmp_path / "s") == [2]
    assert [Path(name).name for name in verify(tmp_path / "s").strays] == [
        "shard-00000.safetensors"
    ]


_CHILD = """
import sys, numpy as np
from distfit_nn.capture import store
store.FLUSH_SECONDS = -1.0
writer = store.StoreWriter(sys.argv[1], "a", buffer_bytes=4000)
step = len(writer._entries)
print("ready", flush=True)
while True:
    writer.add(np.full((30, 2), step, np.float32), layer="fc", site="values", step=step)
    writer.flush_if_due() if step % 3 else writer.flush()
    print(step, flush=True)
    step += 1
"""


@pytest.mark.slow
def test_a_recording_is_killed_again_and_again(tmp_path):
    path, told, chance = tmp_path / "s", -1, random.Random(20170510)
    for _ in range(25):
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0.0, 0.1))
        child.kill()
        lines = child.stdout.read().split("\n")
        child.wait()
        told = max([told, *(int(line) for line in lines[:-1])])
        if told >= 0:
            found = steps(path)
            assert found == list(range(len(found)))
            assert len(found) in (told + 1, told + 2)
            told = len(found) - 1
    assert told > 20


_HOLDER = """
import sys, time
from distfit_nn.capture.store import StoreWriter
writer = StoreWriter(sys.argv[1], "a")
print("held", flush=True)
time.sleep(60)
"""


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    path = tmp_path / "s"
    child = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        with pytest.raises(FileError, match=f"{path}: is being written .* .process {child.pid}"):
            StoreWriter(path, "a")
    finally:
        child.kill()
        child.wait()
    assert (path / LOCK).exists()
    with StoreWriter(path, "a") as writer:
        add(writer, 1)
    assert steps(path) == [1]
    assert not (path / LOCK).exists()


def test_a_forked_child_does_not_let_the_folder_go(tmp_path):
    writer = StoreWriter(tmp_path / "s")
    child = os.fork()
    if child == 0:
        writer._lock.release()
        os._exit(0)
    os.waitpid(child, 0)
    with pytest.raises(FileError, match="is being written"):
        StoreWriter(tmp_path / "s")
    writer.close()


def in_a_fork(act) -> str:
    """What a child that was forked off says of `act`: "done", or its error."""
    reader, sender = os.pipe()
    if (child := os.fork()) == 0:
        try:
            act()
            told = "done"
        except BaseException as error:
            told = f"{type(error).__name__}: {error}"
        os.write(sender, told.encode())
        os._exit(0)
    os.close(sender)
    with os.fdopen(reader) as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return told


@pytest.mark.parametrize("rank", [None, 0])
def test_a_forked_child_writes_nothing_into_the_store_of_its_parent(tmp_path, rank):
    with StoreWriter(tmp_path / "s", rank=rank) as writer:
        add(writer, 0)
        writer.flush()
        before = {path: path.read_bytes() for path in writer.path.iterdir()}
        writer._flushed -= 1000  # the next write is due
        told = f"FileError: {writer.path}: is being written by process {os.getpid()}, not by"
        assert in_a_fork(lambda: add(writer, 1)).startswith(told)
        assert in_a_fork(writer.flush).startswith(told)
        assert in_a_fork(writer.flush_if_due).startswith(told)
        add(writer, 2)
        assert in_a_fork(writer.flush).startswith(told)
        assert in_a_fork(writer.flush_if_due).startswith(told)
        assert in_a_fork(writer.close) == "done"
        assert in_a_fork(lambda: writer.__exit__(None, None, None)) == "done"
        assert in_a_fork(lambda: (writer.close(), add(writer, 1))).startswith("FileError")
        assert {path: path.read_bytes() for path in writer.path.iterdir()} == before
    assert steps(tmp_path / "s") == [0, 2]


def test_an_empty_rank_of_a_forked_child_says_nothing(tmp_path):
    with StoreWriter(tmp_path / "s", rank=0) as writer:
        assert in_a_fork(lambda: writer.__exit__(None, None, None)) == "done"
        assert not (writer.path / MANIFEST).exists()


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "mine").write_text("thesis")
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / LOCK).symlink_to(tmp_path / "mine")
    with pytest.raises(FileError, match="cannot be written"):
        StoreWriter(tmp_path / "s")
    assert (tmp_path / "mine").read_text() == "thesis"


_LIMITED = """
import resource, sys, numpy as np
from distfit_nn.capture.store import StoreWriter
from distfit_nn.errors import FileError
writer = StoreWriter(sys.argv[1], "a")
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))
writer.add(np.full((9000, 2), 1, np.float32), layer="fc", site="values", step=1)
try:
    writer.flush()
except FileError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
writer.close()
"""


@pytest.mark.skipif(
    resource.getrlimit(resource.RLIMIT_FSIZE)[1] != resource.RLIM_INFINITY,
    reason="the limit could not be lifted again",
)
def test_a_file_that_may_not_grow(tmp_path):
    """What could not be written is kept, and written once there is room."""
    path = tmp_path / "s"
    with StoreWriter(path) as writer:
        add(writer, 0)
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{path}/shard-00001.safetensors: cannot be written: the system")
    assert done.stdout.count("\n") == 1
    assert [record.step for record in Store(path).records] == [0, 1]
    assert verify(path).ok


def test_a_full_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("a small disk may not be mounted here")
    try:
        with StoreWriter(disk / "s") as writer:
            add(writer, 0)
        writer = StoreWriter(disk / "s", "a")
        add(writer, 1, rows=100_000)
        with pytest.raises(FileError, match="the disk is full"):
            writer.flush()
        assert steps(disk / "s") == [0]
        assert verify(disk / "s").strays == ()
        with pytest.raises(FileError, match="the disk is full"):
            writer.close()
        writer.close()
        with StoreWriter(disk / "s", "a") as writer:
            add(writer, 2)
        assert steps(disk / "s") == [0, 2]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def failing(monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    """Have a function of `os` fail for files of a store."""
    real = getattr(os, name)

    def fail(path, *arguments, **options):
        if "shard-" in str(path):
            raise OSError(number, os.strerror(number))
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, name, fail)


def test_the_first_error_stays_in_front(tmp_path, monkeypatch):
    failing(monkeypatch, "open", 28)
    first = ZeroDivisionError("mine")

    def work(action) -> StoreWriter:
        with StoreWriter(tmp_path / "s") as writer:
            add(writer, 0)
            action(writer)
        return writer

    def fail(writer: StoreWriter) -> None:
        raise first

    with pytest.raises(ZeroDivisionError, match="mine"):
        work(fail)
    assert "the disk is full" in first.__notes__[0]
    with pytest.raises(FileError) as other:
        work(StoreWriter.flush)
    assert not getattr(other.value, "__notes__", [])
    writer = StoreWriter(tmp_path / "s")
    writer.close()
    writer.close()
    with pytest.raises(FileError, match="the writer is closed"):
        add(writer, 1)


def test_what_could_not_be_written_is_tried_again(tmp_path, monkeypatch):
    writer = StoreWriter(tmp_path / "s", buffer_bytes=10)
    with monkeypatch.context() as patch:
        failing(patch, "replace", 28)
        with pytest.raises(FileError, match="the disk is full"):
            add(writer, 0)
    add(writer, 1)
    writer.close()
    assert steps(tmp_path / "s") == [0, 1]


def test_a_folder_that_is_removed_under_the_writer(tmp_path):
    path = tmp_path / "s"
    writer = StoreWriter(path)
    add(writer, 0)
    writer.flush()
    for file in path.iterdir():
        file.unlink()
    path.rmdir()
    add(writer, 1)
    with pytest.raises(FileError, match=f"{path}: the folder of the store was removed"):
        writer.flush()
    with pytest.raises(FileError, match="was removed"):
        writer.close()
    writer.close()
    assert not path.exists()


def test_a_folder_that_may_not_be_written(tmp_path, monkeypatch):
    path = tmp_path / "s"
    with StoreWriter(path) as writer:
        add(writer, 0)
    real = os.open

    def refuse(target, flags, *arguments, **options):
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(30, "Read-only file system")
        return real(target, flags, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(FileError, match=f"{path}: cannot be written: Read-only file system"):
        StoreWriter(path, "a")
    assert steps(path) == [0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write(tmp_path):
    path = tmp_path / "s"
    path.mkdir()
    path.chmod(0o555)
    with pytest.raises(FileError, match="cannot be written: Permission denied"):
        StoreWriter(path)


def test_a_shard_does_not_outgrow_its_header(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "MOST_TENSORS", 4)
    with StoreWriter(tmp_path / "s") as writer:
        for step in range(10):
            add(writer, step)
    assert steps(tmp_path / "s") == list(range(10))
    assert verify(tmp_path / "s").shards == 3


def test_a_lock_on_a_file_that_was_removed_is_none(tmp_path, monkeypatch):
    """Another writer leaves, and removes its lock file, between our opening and our locking it."""
    (tmp_path / "s").mkdir()
    real = lock_module.fcntl.flock
    calls: list[int] = []

    def flock(file, flags):
        calls.append(1)
        if len(calls) == 1:
            (tmp_path / "s" / LOCK).unlink()
        return real(file, flags)

    monkeypatch.setattr(lock_module.fcntl, "flock", flock)
    writer = StoreWriter(tmp_path / "s")
    assert len(calls) == 2
    with pytest.raises(FileError, match="is being written"):
        StoreWriter(tmp_path / "s")
    writer.close()
