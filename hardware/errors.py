"""Exceptions of the hardware package.

    HardwareError
    +-- RuleError         a learning rule that cannot be parsed, or that the chip cannot express
    +-- ProgramError      a program that breaks a limit of the chip or contradicts itself
    |   +-- FileError     a program or recording file that is truncated, foreign, changed or too old or new
    +-- RunError          a run that was asked for something the program does not have

Every message quotes the offending value and says what to do.
"""

from __future__ import annotations


class HardwareError(Exception):
    """Base of everything that `hardware` raises on purpose."""


class RuleError(HardwareError):
    """A learning rule that cannot be parsed, or that the chip cannot express."""


class ProgramError(HardwareError):
    """A program that breaks a limit of the chip or contradicts itself."""


class FileError(ProgramError):
    """A program or recording file that is truncated, foreign, changed or of another version."""


class RunError(HardwareError):
    """A run that was asked for something the program does not have."""
