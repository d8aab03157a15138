"""Exceptions of the spmn package.

    SpmnError
    +-- SettingsError     a setting out of range, or two settings that exclude each other
    +-- DataError         a data folder or file that is missing, unreadable or breaks its format
    +-- VocabularyError   a word that the network has never seen
    +-- CheckpointError   a run folder that is missing, truncated, foreign or of another version
    +-- ExportError       a network that cannot be expressed as a chip program

Every message quotes the offending value and says what to do.
"""

from __future__ import annotations


class SpmnError(Exception):
    """Base of everything that `spmn` raises on purpose."""


class Stopped(Exception):
    """Training was interrupted after a checkpoint was written."""


class SettingsError(SpmnError, ValueError):
    """A setting out of range, or two settings that exclude each other."""


class DataError(SpmnError):
    """A data folder or file that is missing, unreadable or breaks its format."""


class VocabularyError(SpmnError):
    """A word that the network has never seen."""


class CheckpointError(SpmnError):
    """A run folder that is missing, truncated, foreign or of another version."""


class ExportError(SpmnError):
    """A network that cannot be expressed as a chip program."""
