"""One writer a folder: a lock that the kernel takes back when its holder dies."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path

from distfit_nn.capture.manifest import file_error

LOCK = ".lock"
_TRIES = 100  # of a lock file that others remove as they leave
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)


class FolderLock:
    """The right to write into a folder, held until `release` or the end of the process.

    It is ``flock`` on the file ``.lock``, which is there while somebody writes; one that a killed
    process has left means nothing. On a network file system it holds for all machines where the
    system passes locks on (NFS from Linux 2.6.12 on, unless mounted with ``nolock``); where there
    are no locks at all it is only a file.

    Parameters
    ----------
    folder : pathlib.Path

    Raises
    ------
    FileError
        Another writer has the folder open, or it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK
        self._owner = os.getpid()
        for _ in range(_TRIES):
            try:
                descriptor = os.open(
                    self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666
                )
            except OSError as error:
                raise file_error(folder, f"cannot be written: {error.strerror}") from None
            self._file = os.fdopen(descriptor, "r+b", buffering=0)
            self._take(folder)
            if self._is_there():
                self._sign()
                return
            self._file.close()
        raise file_error(folder, "cannot be locked: others open and leave it all the time")

    @property
    def is_released(self) -> bool:
        """Whether the right was given back."""
        return self._file.closed

    @property
    def is_own(self) -> bool:
        """Whether this process took it, and is not one that was forked off that."""
        return os.getpid() == self._owner

    def check_own(self) -> None:
        """Raise `FileError` in a process that was forked off the one that writes."""
        if not self.is_own:
            raise file_error(
                self._path.parent,
                f"is being written by process {self._owner}, not by {os.getpid()}, "
                "which was forked off; record in one of them, or in folders of their own",
            )

    def release(self) -> None:
        """Let others write; a child that was forked off gives up its share only."""
        if self._file.closed:
            return
        if self.is_own:
            with contextlib.suppress(OSError):
                if self._is_there():
                    self._path.unlink()
        self._file.close()

    def _take(self, folder: Path) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            told = self._file.read(20).decode(errors="replace").strip()
            self._file.close()
            who = f" (process {told})" if told.isdecimal() else ""
            raise file_error(
                folder,
                f"is being written by another recording{who}; "
                "wait for its end, write elsewhere, or give each rank= its number",
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                self._file.close()
                raise file_error(folder, f"cannot be locked: {error.strerror}") from None

    def _is_there(self) -> bool:
        """Whether the file that is locked is still the one that others would open."""
        try:
            found, own = os.lstat(self._path), os.fstat(self._file.fileno())
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino)

    def _sign(self) -> None:
        with contextlib.suppress(OSError):  # only for the message to others
            self._file.truncate(0)
            self._file.write(b"%d\n" % self._owner)
