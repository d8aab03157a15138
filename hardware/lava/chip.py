"""Compiling for Loihi 2, inside the Lava environment; only reached when lava-loihi and a board are there."""

from __future__ import annotations

from collections.abc import Mapping

from hardware.checks import IntArray
from hardware.errors import RunError
from hardware.inputs import IntData
from hardware.lava import build, stock
from hardware.lava.loihi2 import refuse_python_models
from hardware.program import Program


def run_stream(program: Program, payloads: Mapping[str, IntArray]) -> dict[tuple[str, str], IntData]:
    """Compile one stream for the chip, and raise RunError: nothing below was ever tried on a board.

    Sources run on the host; their spikes reach the chip through PyToNxAdapter, which comes with lava-loihi.
    Spikes and weights would come back through NxToPyAdapter and its probes; what those need, and in which
    step they deliver, cannot be told without a board.

    Raises RunError if a part has no model on the chip, and otherwise too.
    """
    from lava.magma.core.model.nc.model import AbstractNcProcessModel  # with lava-loihi only
    from lava.magma.core.run_configs import Loihi2HwCfg
    from lava.proc import embedded_io

    parts = build.processes(program)
    outputs = {name: process.s_out for name, process in parts.items() if hasattr(process, "s_out")}
    for name, array in payloads.items():
        adapter = embedded_io.spike.PyToNxAdapter(shape=array.shape[1:], num_message_bits=24)
        build.source(name, array).s_out.connect(adapter.inp)
        outputs[name] = adapter.out
    for wire in build.wires(program):
        output = outputs[wire.source] if wire.output == "s_out" else parts[wire.source].a_out
        output.connect(getattr(parts[wire.target], wire.input))
    next(iter(parts.values())).compile(Loihi2HwCfg(), None)
    refuse_python_models(
        {name: process.model_class for name, process in parts.items()}, AbstractNcProcessModel
    )
    stock.forget_processes()
    raise RunError(
        f"{program.name!r} compiles for Loihi 2, but running it there was never tried: "
        "extend hardware.lava.chip on a computer with a board"
    )
