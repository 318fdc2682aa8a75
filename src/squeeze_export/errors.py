"""The one error tree: the class of an error is the exit code of the command."""

from __future__ import annotations


class SqueezeExportError(Exception):
    """A failure that a user can act on: says what happened, what was found and what to do.

    Every subclass fixes `exit_code`; the command line prints the message without a traceback.
    """

    exit_code: int = 1


class UsageError(SqueezeExportError):
    """The request itself cannot be carried out: options, config file, folders, images."""

    exit_code: int = 2


class SourceError(SqueezeExportError):
    """The source model, its weights or its labels are not what they must be."""

    exit_code: int = 3


class ConversionError(SqueezeExportError):
    """An exporter could not make its artifact; raised `from` the SDK's own exception."""

    exit_code: int = 4


class ParityError(SqueezeExportError):
    """An artifact does not agree with the reference, or could not be shown to."""

    exit_code: int = 5


class TargetUnavailableError(SqueezeExportError):
    """A target cannot be exported or executed on this machine; the message names the remedy."""

    exit_code: int = 6


class UnsupportedOperationError(SqueezeExportError):
    """A runner met an operation it does not implement: the verdict is NOT_RUN and names it."""

    exit_code: int = 5


class ArtifactError(SqueezeExportError):
    """A saved artifact cannot be opened or is not what its format requires: the verdict is FAILED."""

    exit_code: int = 5
