from hardware.reference import Reference as Emulator
from hardware.state import State

__all__ = ["Emulator", "State"]
