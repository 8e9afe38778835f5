"""The exceptions that users may want to catch."""

from __future__ import annotations


class DistfitError(Exception):
    """Base of every error that distfit_nn raises on purpose; its text is one clear sentence."""


class InputError(DistfitError, ValueError):
    """An argument breaks a rule; the message names the rule and the value that broke it."""


class FileError(DistfitError, OSError):
    """A file or store is missing, damaged or unsafe; the message names it and what is wrong."""


class SiteError(DistfitError, RuntimeError):
    """A site that was to be recorded does not exist, or was never reached by a forward pass."""


class FitError(DistfitError, RuntimeError):
    """A column could not be fitted and the caller had asked for an exception in that case."""
