"""The deployed network as one integer program, and the runners that give the same bits.

Program --save, load--> HDF5
stories --encode--> input spikes --Emulator.run--> Recording --read_answers--> answers

program, host, rules, grammar, lowering             what a program is
files, store, inputs, recording, state              what lies on disk
schedule                                            stories to spikes, spikes to answers
arithmetic                                          the chip's arithmetic, function by function
reference, reference_learning                       a slow runner in plain numpy: the definition
emulator, plan, kernels, learning_kernels           the fast one
lava/                                               Lava's simulation, and the way to a board
runners, conformance/, stdp                         all runners by name; do they agree; what a rule does
fits, cost, chips/                                  will it fit, what does it cost
"""

from hardware.cost import Costs, Energy, costs, energy
from hardware.emulator import Emulator
from hardware.errors import FileError, HardwareError, ProgramError, RuleError, RunError
from hardware.files import load, save
from hardware.fits import Placement, load_chip, place
from hardware.grammar import Factor
from hardware.host import ClockLine, Host, Readout, Schedule, TimeAxons, TokenAxons
from hardware.inputs import check_inputs, load_inputs, save_inputs
from hardware.lowering import lower, realised
from hardware.program import InputAxons, PlasticProjection, Population, Probe, Program, Projection
from hardware.recording import Operations, Recording, load_recording, save_recording
from hardware.rules import ChipProduct, ChipRule, LearningRule, Product
from hardware.schedule import Event, encode, read_answers, read_story, word_ids
from hardware.state import State, initial_state, load_state, save_state
from hardware.stdp import measure_window

__all__ = [
    "ChipProduct",
    "ChipRule",
    "ClockLine",
    "Costs",
    "Emulator",
    "Energy",
    "Event",
    "Factor",
    "FileError",
    "HardwareError",
    "Host",
    "InputAxons",
    "LearningRule",
    "Operations",
    "Placement",
    "PlasticProjection",
    "Population",
    "Probe",
    "Product",
    "Program",
    "ProgramError",
    "Projection",
    "Readout",
    "Recording",
    "RuleError",
    "RunError",
    "Schedule",
    "State",
    "TimeAxons",
    "TokenAxons",
    "check_inputs",
    "costs",
    "encode",
    "energy",
    "initial_state",
    "load",
    "load_chip",
    "load_inputs",
    "load_recording",
    "load_state",
    "lower",
    "measure_window",
    "place",
    "read_answers",
    "read_story",
    "realised",
    "save",
    "save_inputs",
    "save_recording",
    "save_state",
    "word_ids",
]
