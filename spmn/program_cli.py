"""Commands for program files: info, run, fits, conform. They need no torch."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from hardware.conformance.compare import RunAll
from hardware.errors import RunError
from hardware.program import Probe, Program
from hardware.recording import Recording
from spmn.settings import refuse
from spmn.terminal import cell, console, plain, table, told

ProgramFile = Annotated[Path, typer.Argument(metavar="PROGRAM", help="A program file, .h5.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Limit = Annotated[float, typer.Option(help="Seconds after which a run in other processes is ended.", min=0)]


def info(program: ProgramFile) -> None:
    """Show what a program file contains, as tables."""
    from hardware.files import load

    loaded = load(program)
    console.print(f"{program}: {summary(loaded)}")
    for name, value in sorted(loaded.attributes.items()):
        console.print(f"  {name}: {value}")
    if loaded.schedule:
        console.print(f"  {loaded.schedule.window} steps per event, {loaded.schedule.drain} after the last")
    inputs = table("input", "axons", "driven by", "at steps of the event")
    driven = _driven(loaded)
    for part in loaded.inputs:
        inputs.add_row(part.name, str(part.size), *driven.get(part.name, ("the user", "")))
    populations = table("population", "kind", "neurons", "vth", "du", "dv", "bias", "reset every", "at")
    for p in loaded.populations:
        reset = (str(p.reset_interval), str(p.reset_offset)) if p.reset_interval else ("-", "-")
        biased = "by neuron" if not isinstance(p.bias_mant, int) else str(p.bias_mant << p.bias_exp)
        populations.add_row(p.name, p.kind, str(p.size), str(p.vth), str(p.du), str(p.dv), biased, *reset)
    projections = table(
        "projection", "pre x post", "synapses", "sign", "exp", "bits", "payload", "delay", "storage"
    )
    for q in loaded.projections:
        delay = str(q.delays) if isinstance(q.delays, int) else f"{q.delays.min()}..{q.delays.max()}"
        projections.add_row(
            q.name,
            f"{q.weights.shape[1]} x {q.weights.shape[0]}",
            str(int((q.weights != 0).sum())),
            q.sign_mode,
            str(q.weight_exp),
            str(q.num_weight_bits),
            str(q.num_message_bits or "-"),
            delay,
            q.storage,
        )
    plastic = table("plastic projection", "pre x post", "rule", "graded", "third factors", "epoch", "seed")
    for r in loaded.plastic:
        texts = (f"{name} = {text}" for name in ("dw", "dd", "dt") if (text := getattr(r.rule, name)))
        plastic.add_row(
            r.name,
            f"{r.weights.shape[1]} x {r.weights.shape[0]}",
            "\n".join(texts),
            r.graded,
            ", ".join(filter(None, r.third_factors)) or "-",
            str(r.rule.t_epoch),
            str(r.seed),
        )
    probes = table("probe", "variable", "every", "offset")
    for probe in loaded.probes:
        probes.add_row(probe.target, probe.variable, str(probe.every), str(probe.offset))
    console.print(inputs, populations, projections, plastic, probes)


def run(
    program: ProgramFile,
    on: Annotated[
        str, typer.Option(help="Runner: emulator, reference, torch, lava, lava-models or loihi2.")
    ] = "emulator",
    story: Annotated[
        Path | None, typer.Option(help="Text file with a sentence per line; else standard input.")
    ] = None,
    inputs: Annotated[Path | None, typer.Option(help="Input spikes (.h5) instead of sentences.")] = None,
    out: Annotated[Path | None, typer.Option(help="Recording to write (.h5).")] = None,
    probe: Annotated[
        list[str] | None,
        typer.Option(help="Also record TARGET, TARGET:VARIABLE or TARGET:VARIABLE:EVERY; repeatable."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Emulator: an overflow, wrap or clip is an error.")
    ] = False,
    state: Annotated[Path | None, typer.Option(help="Emulator: state (.h5) to go on from.")] = None,
    save_state: Annotated[Path | None, typer.Option(help="Emulator: write the state after the run.")] = None,
    limit: Limit = 600.0,
    as_json: AsJson = False,
) -> None:
    """Run a program: sentences in, answers out. A line that ends in ? asks."""
    from hardware.files import load
    from hardware.inputs import load_inputs
    from hardware.recording import save_recording
    from hardware.schedule import encode, read_answers, read_story

    if inputs is None:
        refuse("goes with --inputs: sentences begin a story, at step 1", state=state)
    else:
        refuse("does not go with --inputs, which are run instead of sentences", story=story)
    _not_the_same(
        {"PROGRAM": program, "--story": story, "--inputs": inputs},
        {"--out": out, "--save-state": save_state},
    )
    _not_the_same({"--state": state}, {"--out": out})
    loaded = _with_probes(load(program), probe or [])
    lines = [] if inputs else [line.strip() for line in _lines(story) if line.strip()]
    events = [] if inputs else read_story(loaded, lines)
    spikes = load_inputs(inputs) if inputs else encode(loaded, [events])
    recording = _execute(loaded, spikes, on, strict, state, save_state, limit)
    questions = [line for line, event in zip(lines, events, strict=True) if event.question]
    answers: list[dict[str, str]] = [{"question": line} for line in questions]
    for readout in loaded.host.readouts if loaded.host and questions else ():
        given = read_answers(loaded, recording, [events])[readout.name][0]
        for answer, index in zip(answers, given, strict=True):
            answer[readout.name] = readout.answers[index]
    cost = _cost(loaded, recording, len(questions))
    if out is not None:
        save_recording(recording, out)
    if as_json:
        about = {"runner": recording.runner, "steps": recording.steps}
        numbers = {name: value for part in cost.values() for name, value in part.items()}
        print(json.dumps({**about, "answers": answers, "cost": numbers}))
        return
    for answer in answers:
        console.print(" ".join(answer.values()), highlight=False)
    if lines and not questions:
        console.print("the story asks no question: a line that asks ends in ?")
    written = f", wrote {out}" if out else ""
    console.print(f"runner: {recording.runner}, {recording.steps} steps{written}")
    for title, part in cost.items():
        console.print(f"{title}:")
        for name, value in part.items():
            console.print(f"  {name}: {cell(value)}", highlight=False)


def fits(
    program: ProgramFile,
    chip: Annotated[str, typer.Option(help="loihi2 or loihi1.")] = "loihi2",
    chips: Annotated[int, typer.Option(help="Chips that there are.", min=1)] = 1,
    as_json: AsJson = False,
) -> None:
    """Will a program fit a chip? Cores, neurons, synaptic memory, axons; exit code 1 if it does not."""
    from hardware.files import load
    from hardware.fits import place

    placement = place(load(program), chip, chips)
    if as_json:
        columns = ("what", "used", "of", "share", "fullest core", "limit of a core", "source")
        resources = [dict(zip(columns, row, strict=True)) for row in placement.resource_rows()]
        print(
            json.dumps(
                {
                    "chip": chip,
                    "fits": placement.fits,
                    "cores": len(placement.cores),
                    "chips_needed": placement.chips_needed,
                    "resources": resources,
                    "problems": [str(problem) for problem in placement.problems],
                    "assumptions": placement.assumptions,
                },
                indent=1,
            )
        )
    else:
        _print_placement(placement, program)
    if not placement.fits:
        raise typer.Exit(1)


def conform(
    runs: Annotated[int, typer.Option(help="Random programs.", min=1)] = 100,
    between: Annotated[
        tuple[str, str],
        typer.Option(help="Two runners. lava means its models in one process, and --runtime."),
    ] = ("emulator", "reference"),
    runtime: Annotated[
        int, typer.Option(help="Programs that also run in Lava's real runtime, if lava is named.", min=0)
    ] = 0,
    seed: Annotated[int, typer.Option(help="Of the first program; the others follow.", min=0)] = 0,
    steps: Annotated[int, typer.Option(help="Steps of each program.", min=1)] = 40,
    limit: Limit = 60.0,
    as_json: AsJson = False,
) -> None:
    """Do two runners give the same bits? Random programs, and the first difference of each that differs."""
    from hardware.conformance import compare, random_case

    if "lava" not in between:
        refuse("goes with lava: --between emulator lava", runtime=runtime or None)
    stepped = tuple("lava-models" if name == "lava" else name for name in between)
    stages = [(stepped, runs), *([(between, runtime)] if runtime else [])]
    totals = []
    for pair, count in stages:
        left, right = (_bound(name, limit) for name in pair)
        cases = (random_case(number, steps=steps) for number in range(seed, seed + count))
        results = []
        with Progress(console=plain(stderr=True), transient=True) as bar:
            task = bar.add_task(f"{pair[0]} against {pair[1]}", total=count)
            for result in compare(cases, left, right):
                results.append(result)
                bar.advance(task)
                if not result.equal:
                    reason = result.failure or str(result.difference)
                    bar.console.print(f"seed {result.case.seed}: {reason}")
        totals.append(tally(pair, results))
    print_totals(totals, as_json)
    if any(total["different"] or total["failed"] for total in totals):
        raise typer.Exit(1)


def tally(pair: Sequence[str], results: Sequence[Any]) -> dict[str, Any]:
    """What a series of comparisons gave, in numbers."""
    plastic = [result.case for result in results if result.case.program.plastic]
    return {
        "runners": " and ".join(pair),
        "programs": len(results),
        "equal": sum(result.equal for result in results),
        "different": sum(result.difference is not None for result in results),
        "failed": sum(bool(result.failure) for result in results),
        "plastic": len(plastic),
        "all populations spike": sum(result.case.spiking for result in results),
        "weights change": sum(case.learning for case in plastic),
    }


def print_totals(totals: Sequence[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(totals, indent=1))
        return
    for total in totals:
        line = ", ".join(f"{name}: {value}" for name, value in total.items())
        console.print(line, highlight=False)


def summary(program: Program) -> str:
    """One line on the size of a program."""
    neurons = sum(p.size for p in program.populations)
    fixed = sum(int((p.weights != 0).sum()) for p in program.projections)
    plastic = sum(p.weights.size for p in program.plastic)
    return (
        f"{neurons:,} neurons in {len(program.populations)} populations, {fixed:,} fixed synapses in "
        f"{len(program.projections)} projections, {plastic:,} plastic synapses in {len(program.plastic)}"
    )


def _driven(program: Program) -> dict[str, tuple[str, str]]:
    """What drives an input, and at which steps of an event."""
    lines = program.schedule.lines if program.schedule else ()
    driven = {line.name: (f"clock, every {line.on}", _steps(line.steps)) for line in lines}
    if program.host:
        driven[program.host.tokens.name] = "words", _steps(program.host.tokens.steps)
    if program.host and program.host.time:
        driven[program.host.time.name] = "number of the event", _steps(program.host.time.steps)
    return driven


def _steps(steps: Sequence[int]) -> str:
    run = list(range(min(steps), max(steps) + 1)) if steps else []
    return f"{run[0]}..{run[-1]}" if len(run) > 2 and run == sorted(steps) else ", ".join(map(str, steps))


def _lines(story: Path | None) -> list[str]:
    """Lines of a file, or of standard input.

    Raises RunError where it cannot be read, DataError where it is not UTF-8.
    """
    if story is None:
        return told(sys.stdin.buffer.read(), "standard input").splitlines()
    try:
        content = story.read_bytes()
    except OSError as problem:
        raise RunError(
            f"cannot read the story {str(story)!r}: {problem.strerror}; name a file with a sentence per line"
        ) from None
    return told(content, str(story)).splitlines()


def _not_the_same(read: dict[str, Path | None], write: dict[str, Path | None]) -> None:
    """Raises RunError where a file to write is one that is read, or two that are written are the same."""
    seen = {path.resolve(): name for name, path in read.items() if path is not None}
    for name, path in write.items():
        if path is not None and (other := seen.setdefault(path.resolve(), name)) != name:
            raise RunError(f"{name} names {str(path)!r}, as {other} does: name another file")


def _with_probes(program: Program, texts: Sequence[str]) -> Program:
    """The program with further probes, written TARGET, TARGET:VARIABLE or TARGET:VARIABLE:EVERY."""
    probes = {probe.key: probe for probe in program.probes}
    for text in texts:
        target, variable, every, *rest = (*text.split(":"), *("spikes", "1")[text.count(":") :])
        if rest or not every.isdecimal():
            raise RunError(f"--probe {text!r}: write TARGET, TARGET:VARIABLE or TARGET:VARIABLE:EVERY")
        probes[target, variable] = Probe(target, variable, int(every))  # type: ignore[arg-type]
    return replace(program, probes=tuple(probes.values()))


def _execute(
    program: Program,
    spikes: Any,
    on: str,
    strict: bool,
    state: Path | None,
    save_state: Path | None,
    limit: float,
) -> Recording:
    if on != "emulator":
        if strict or state or save_state:
            raise RunError(f"--strict, --state and --save-state need --on emulator, not {on}")
        from hardware.runners import run as run_on

        _register_torch(on)
        return run_on(on, program, spikes, limit)
    from hardware.emulator import Emulator
    from hardware.inputs import check_inputs
    from hardware.state import load_state
    from hardware.state import save_state as write_state

    emulator = Emulator(program, strict)
    _, batch = check_inputs(program, spikes)
    before = load_state(state, program) if state else emulator.initial_state(batch)
    after, recording = emulator.run(before, spikes)
    if save_state is not None:
        write_state(after, save_state)
    return recording


def _bound(name: str, limit: float) -> RunAll:
    """A runner by name, with its limit."""
    from hardware.runners import runner

    _register_torch(name)
    chosen = runner(name)
    return lambda jobs: chosen(jobs, limit)


def _register_torch(name: str) -> None:
    """Register the runner in torch if it is asked for. Raises RunError if there is no torch."""
    if name in ("torch", "exact"):
        try:
            import spmn.runners  # noqa: F401
        except ModuleNotFoundError as missing:
            raise RunError(
                f"the runner {name!r} needs {missing.name}: pip install {missing.name}, or use --on emulator"
            ) from None


def _cost(program: Program, recording: Recording, questions: int) -> dict[str, dict[str, Any]]:
    """By title: operations, per question if any was asked, and the energy that they would take on Loihi 1;
    what is of the whole program or run."""
    from hardware.cost import costs, energy

    if recording.operations is None:
        return {}
    spent = energy(recording.operations)
    count = questions or len(spent.low)
    ends = [round(float(end.sum()) / count / 1e6, 1) for end in (spent.low, spent.high)]
    found = costs(program, recording)
    rows: dict[str, Any] = dict(found.rows(questions or None))
    rows["Energy in uJ, estimated with Loihi 1 constants"] = ends
    title = f"operations per {'question' if questions else 'stream'}"
    return {title: rows, "program and run": dict(found.whole_rows())}


def _print_placement(placement: Any, program: Path) -> None:
    populations = table("population", "neurons", "cores", "synapses", "memory, kbit", "axons in", "axons out")
    for row in placement.population_rows():
        populations.add_row(*map(cell, row))
    resources = table("what", "used", "of", "share", "fullest core", "limit of a core", "source of the limit")
    for row in placement.resource_rows():
        resources.add_row(*map(cell, row))
    console.print(populations, resources)
    for assumption in placement.assumptions:
        console.print(f"assumed: {assumption}", highlight=False)
    for problem in placement.problems:
        console.print(f"does not fit: {problem}", style="red", highlight=False)
    verdict = "fits" if placement.fits else "does not fit"
    used = f"{len(placement.cores)} of {placement.cores_available} cores"
    line = f"{program} {verdict} {placement.chip.title}: {used}"
    console.print(line, highlight=False)
