"""The folders whose manifests make up a store: its own, or one for each rank that wrote."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path, PurePosixPath

from distfit_nn.capture import files
from distfit_nn.capture.manifest import (
    MANIFEST,
    RANK_NAME,
    Manifest,
    check_size,
    file_error,
    has_manifest,
    parse_manifest,
    rank_folders,
    rank_number,
    read_manifest,
)

Folder = Path | str  # str for a URL


@dataclass(frozen=True)
class Members:
    """The parts of a store, in a fixed order.

    Attributes
    ----------
    folders : tuple of Path or str
    manifests : tuple of Manifest
        The shards of entries are counted through all of them.
    missing : tuple of str
        One line for each rank that has nothing to read.
    """

    folders: tuple[Folder, ...]
    manifests: tuple[Manifest, ...]
    missing: tuple[str, ...] = ()


def members(path: str | PathLike[str]) -> Members:
    """Read the manifests of the store at `path`.

    Raises
    ------
    FileError
        It is not a store, is a store and has folders of ranks, or a manifest is damaged.
    """
    remote = files.is_url(path)
    folder: Folder = str(path) if remote else Path(path)
    names = _remote_ranks(str(path)) if remote else rank_folders(path)
    if not names:
        return Members((folder,), (_manifest(folder, 0),))
    if has_manifest(path) if remote is False else _has_remote_manifest(str(path)):
        raise file_error(folder, f"has a {MANIFEST} and the folder {names[0]}: which is the store?")
    return _ranks(folder, names)


def told(missing: Sequence[str]) -> None:
    """Warn of ranks that have nothing to read."""
    if missing:
        warnings.warn(f"ranks are missing: {'; '.join(missing)}", stacklevel=4)


def _ranks(path: Folder, names: list[str]) -> Members:
    folders: list[Folder] = []
    manifests: list[Manifest] = []
    missing: list[str] = []
    shards = 0
    for name in names:
        folder = path / name if isinstance(path, Path) else files.join(path, name)
        if isinstance(folder, Path) and folder.is_symlink():
            raise file_error(folder, "is a symbolic link; a rank must lie in the store's folder")
        if not _is_there(folder):
            missing.append(f"{name} has no {MANIFEST}")
            continue
        manifest = _manifest(folder, shards)
        shards += len(manifest.shards)
        folders.append(folder)
        manifests.append(manifest)
    if not any(manifest.records for manifest in manifests):
        raise file_error(path, f"is empty: {'; '.join(missing) or 'no rank has entries'}")
    missing += _absent(path, [rank_number(name) for name in names], manifests)
    return Members(tuple(folders), tuple(manifests), tuple(missing))


def _absent(path: Folder, numbers: list[int], manifests: list[Manifest]) -> list[str]:
    """Return which ranks have no folder, as far as one can know."""
    sizes = sorted({manifest.ranks for manifest in manifests if manifest.ranks is not None})
    if len(sizes) > 1:
        raise file_error(path, f"holds ranks of different recordings, of {sizes} ranks")
    world = sizes[0] if sizes else max(numbers) + 1
    if max(numbers) >= world:
        raise file_error(
            path, f"holds rank {max(numbers)} of another recording: this one has {world} ranks"
        )
    gone = sorted(set(range(min(world, 10**6))) - set(numbers))
    some = ", ".join(f"rank-{number:05d}" for number in gone[:5])
    return [f"{some}{', ...' if gone[5:] else ''} not there"] if gone else []


def _manifest(folder: Folder, first_shard: int) -> Manifest:
    if isinstance(folder, Path):
        return read_manifest(folder, first_shard)
    location = files.join(folder, MANIFEST)
    size = files.size(location)
    if size is None:
        raise file_error(folder, f"is not a distfit_nn store (it has no {MANIFEST})")
    check_size(size, location)
    return parse_manifest(files.read(location, 0, size), location, first_shard)


def _is_there(folder: Folder) -> bool:
    return has_manifest(folder) if isinstance(folder, Path) else _has_remote_manifest(folder)


def _has_remote_manifest(url: str) -> bool:
    return files.size(files.join(url, MANIFEST)) is not None


def _remote_ranks(url: str) -> list[str]:
    """Return the names of the folders of ranks behind a URL; none where it cannot be listed."""
    from fsspec.core import url_to_fs

    try:
        filesystem, path = url_to_fs(url)
        found = filesystem.ls(path, detail=False)
    except Exception:  # of the network, of any library: there is a manifest, or an error of that
        return []
    names = {PurePosixPath(place).name for place in found}
    return sorted((name for name in names if RANK_NAME.fullmatch(name)), key=rank_number)
