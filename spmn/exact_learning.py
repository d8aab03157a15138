"""Plastic synapses of the exact mode: `hardware.reference_learning` in torch, several projections at once.

    pre spikes, post spikes -> traces -> `spmn.exact_rule`, at the end of an epoch

Gradients: what sets traces is smooth, rounding passes, clips pass inside. The rule is differentiated in all
synapses of a stream and projection where it may change any.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor, nn

from hardware import arithmetic
from hardware.arithmetic import TRACE_LIMIT, RandomStream, kept
from hardware.program import PlasticProjection, Program
from hardware.state import PlasticState
from spmn.exact_rule import X_TRACES, Y_TRACES, RuleStep, Synapses, rounded
from spmn.exact_synapses import Columns, Layout
from spmn.straight import straight, wrap


@dataclass(frozen=True)
class Draws:
    """Random numbers of a run by its steps: x, y [steps, G, 1] for traces, rounding [steps] for synapses."""

    done: int  # steps before the run
    x: Tensor
    y: Tensor
    rounding: list[float]


class PlasticGroup(nn.Module):
    """Plastic projections that differ in their ends, initial weights and seeds only."""

    def __init__(self, layout: Layout, projections: Sequence[PlasticProjection]) -> None:
        super().__init__()
        self.projections, self.like = projections, projections[0]
        self.rule, self.t_epoch = self.like.rule, self.like.rule.t_epoch
        self.names = [p.name for p in projections]
        self.pre = [layout.source(p.source, p.num_message_bits) for p in projections]
        self.post = [layout.graded[p.target] for p in projections]
        self.payloads, self.spikes = Columns(self.pre), Columns(self.post)
        self.targets = Columns([layout.neuron[p.target] for p in projections])
        self.third_factors = nn.ModuleDict(
            {
                trace: Columns([layout.graded[p.third_factors[i]] for p in projections])
                for i, trace in enumerate(Y_TRACES)
                if self.like.third_factors[i]
            }
        )
        self.binary_pre = not any(layout.carries_payload(axons) for axons in self.pre)
        self.binary_post = not any(layout.carries_payload(axons) for axons in self.post)
        self.x_random = [RandomStream(p.seed) for p in projections]
        self.y_random = [RandomStream(p.seed + 2) for p in projections]
        self.rounding_random = RandomStream(arithmetic.ROUNDING_SEED)
        products = [product for series in self.rule.series.values() for product in series]
        self.gates, self.everywhere = self.rule.gates, "tag_1" in self.rule.series
        self.dependencies = {product.dependency: product for product in products}

    def load(self, plastic: dict[str, PlasticState], like: Tensor) -> Synapses:
        """The group's part of a state."""

        def stacked(name: str) -> Tensor:
            arrays = [getattr(plastic[p.name], name) for p in self.projections]
            tensor = torch.from_numpy(np.stack(arrays, axis=1)).to(like)
            return tensor.transpose(-1, -2).contiguous() if tensor.ndim == 4 else tensor

        state = {field.name: stacked(field.name) for field in fields(PlasticState)}
        return Synapses(**state, x0=(state["tx"] > 0).to(like), y0=(state["ty"] > 0).to(like))

    def save(self, synapses: Synapses) -> dict[str, PlasticState]:
        """`load` backwards."""
        arrays = {}
        for field in fields(PlasticState):
            tensor: Tensor = getattr(synapses, field.name)
            tensor = tensor.transpose(-1, -2) if tensor.ndim == 4 else tensor
            arrays[field.name] = tensor.to(torch.int32).cpu().numpy()
        return {
            p.name: PlasticState(**{name: array[:, g].copy() for name, array in arrays.items()})
            for g, p in enumerate(self.projections)
        }

    def draws(self, done: int, steps: int, like: Tensor) -> Draws:
        """The random numbers of the steps after step `done`."""
        run = np.arange(done + 1, done + steps + 1)
        x, y = (
            torch.from_numpy(np.stack([random.take(2 * run) for random in streams], 1)[..., None]).to(like)
            for streams in (self.x_random, self.y_random)
        )
        rounding = self.rounding_random.take(run // self.t_epoch)
        return Draws(done, x, y, rounding.tolist())

    def transmit(self, synapses: Synapses, axons: Tensor) -> Tensor:
        """Input [batch, G * V] that the payloads [batch, axons] bring."""
        payload = self._grouped(self.payloads, axons)[:, :, None]
        total = payload @ synapses.weights
        exponent = self.like.weight_exp
        if not self.binary_pre:
            total = straight(total, wrap)
        if exponent > 0:
            total = straight(total * 2.0**exponent, wrap)
        elif exponent < 0:
            total = straight(total, lambda x: torch.floor(x * 2.0**exponent), 2.0**exponent)
        return total.flatten(1)

    def learn(
        self, synapses: Synapses, axons: Tensor, active: set[range], step: int, draws: Draws
    ) -> Synapses:
        """Synapses after the spikes of a step.

        axons: payloads [batch, axons]; active: parts of them that are not silent.
        """
        index = step - draws.done - 1
        position = (step - 1) % self.t_epoch + 1
        payload = self._grouped(self.payloads, axons)
        spoke, fired = not active.isdisjoint(self.pre), not active.isdisjoint(self.post)
        if spoke or self.like.graded == "add_overflow":  # where x1 of 128 overflows without a spike
            synapses = self._see_pre_spikes(synapses, payload, position)
        if fired:
            synapses = self._see_post_spikes(synapses, self._grouped(self.spikes, axons), position)
        if self.like.three_factor:
            factors = {
                trace: self._grouped(self.third_factors[trace], axons)
                if trace in self.third_factors
                else torch.zeros_like(synapses.y1)
                for trace in Y_TRACES
            }
            synapses = replace(synapses, **factors)
        if position < self.t_epoch:
            return synapses
        history = self._trace_history(synapses, draws.x[index], draws.y[index])
        silent = self.t_epoch == 1 and (
            ("x0" in self.gates and not spoke) or ("y0" in self.gates and not fired)
        )
        if not silent:
            synapses = self._apply_rule(synapses, history, payload, step, draws.rounding[index])
        kept = {
            trace: values[-1]
            for trace, values in history.items()
            if trace in X_TRACES or not self.like.three_factor
        }
        if spoke or self.t_epoch > 1:
            kept |= {"x0": torch.zeros_like(synapses.x0), "tx": torch.zeros_like(synapses.tx)}
        if fired or self.t_epoch > 1:
            kept |= {"y0": torch.zeros_like(synapses.y0), "ty": torch.zeros_like(synapses.ty)}
        return replace(synapses, **kept)

    def _grouped(self, columns: nn.Module, axons: Tensor) -> Tensor:
        """[batch, G, neurons]"""
        assert isinstance(columns, Columns)
        return columns.of(axons).view(len(axons), len(self.projections), -1)

    def _see_pre_spikes(self, s: Synapses, payload: Tensor, position: int) -> Synapses:
        x1, counted = _graded_trace(s.x1, payload, self.like.graded)
        x2 = s.x2
        spikes = payload * counted if self.binary_pre else counted.to(payload)
        again = spikes * (s.tx > 0)
        if self.like.graded == "none":
            x1 = _add_impulse(x1, again, self.rule.x1_impulse)
        x2 = _add_impulse(x2, again, self.rule.x2_impulse)
        tx = s.tx.masked_fill(counted, position)
        return replace(s, x0=_either(s.x0, spikes), x1=x1, x2=x2, tx=tx)

    def _see_post_spikes(self, s: Synapses, sent: Tensor, position: int) -> Synapses:
        spikes = sent if self.binary_post else (sent != 0).to(sent)
        again = spikes * (s.ty > 0)
        traces = {
            trace: _add_impulse(getattr(s, trace), again, getattr(self.rule, f"{trace}_impulse"))
            for trace in Y_TRACES
        }
        return replace(s, y0=_either(s.y0, spikes), ty=s.ty.masked_fill(spikes > 0, position), **traces)

    def _trace_history(self, s: Synapses, x_random: Tensor, y_random: Tensor) -> dict[str, list[Tensor]]:
        """Traces that are not 0 throughout, at every step of the epoch: t_epoch + 1 tensors."""
        history = {}
        for trace in (*X_TRACES, *Y_TRACES):
            pre = trace in X_TRACES
            spikes, times, random = (s.x0, s.tx, x_random) if pre else (s.y0, s.ty, y_random)
            value: Tensor = getattr(s, trace)
            impulse, tau = (getattr(self.rule, f"{trace}_{constant}") for constant in ("impulse", "tau"))
            set_directly = self.like.graded != "none" if trace == "x1" else trace in self.third_factors
            tau = arithmetic.THIRD_FACTOR_TAU if self.like.three_factor and not pre else tau
            if not (value.requires_grad or (impulse and spikes.any()) or value.any()):
                continue
            values = [value]
            for position in range(1, self.t_epoch + 1):
                value = _decay(value, tau, random)
                now = spikes if self.t_epoch == 1 else spikes * (times == position)
                value = _add_impulse(value, now, impulse)
                if set_directly:
                    value = torch.where(now > 0, value.clamp(0, TRACE_LIMIT), value)
                values.append(value)
            history[trace] = values
        return history

    def _apply_rule(
        self, s: Synapses, history: dict[str, list[Tensor]], payload: Tensor, step: int, random: float
    ) -> Synapses:
        opened = self._open(s, history, step)
        mask = opened.any(-1)
        if torch.is_grad_enabled():
            mask = mask.any(-1, keepdim=True).expand(mask.shape)
        stream, group, pre = torch.nonzero(mask, as_tuple=True)
        if not len(stream):
            return s
        rows = stream, group, pre
        at = RuleStep(self.like, s, history, payload, rows, step)
        changed = {target: at.changed(target, random) for target in self.rule.series}
        for target, values in changed.items():
            before: Tensor = getattr(s, target)
            # the tensors are the run's own, so without gradients they are written in place
            put = before.index_put if torch.is_grad_enabled() else before.index_put_
            changed[target] = put(rows, values)
        return replace(s, **changed)

    def _open(self, s: Synapses, history: dict[str, list[Tensor]], step: int) -> Tensor:
        """Synapses that the rule can change: [batch, G, K, 1] or [batch, G, K, V] bool."""
        columns = self._open_gates(("x0", *X_TRACES), s.x0, history)
        if columns is not None:
            return columns[..., None]
        rows = self._open_gates(("y0", *Y_TRACES), s.y0, history)
        if rows is not None:
            return rows[:, :, None].expand(*s.x0.shape, rows.shape[-1])
        active = torch.full_like(s.x0[..., 0], self.everywhere, dtype=torch.bool)
        for dependency, product in self.dependencies.items():
            if dependency == "u":
                active |= product.acts_at(step, self.t_epoch)
            else:
                active |= (s.x0 if dependency == "x0" else s.y0).detach().gt(0).any(-1)
        return active[..., None, None].expand(*s.x0.shape, 1)

    def _open_gates(
        self, names: tuple[str, ...], spikes: Tensor, history: dict[str, list[Tensor]]
    ) -> Tensor | None:
        """Neurons at which all gates among `names` are open; None if the rule has no such gate."""
        gates = [name for name in names if name in self.gates]
        if not gates:
            return None
        opened = torch.ones_like(spikes, dtype=torch.bool)
        for name in gates:
            if name in ("x0", "y0"):
                opened &= spikes > 0
            elif name in history:
                opened &= torch.stack([values != 0 for values in history[name]]).any(0)
            else:
                opened &= False
        return opened


def plastic_groups(program: Program, layout: Layout) -> list[PlasticGroup]:
    """The plastic projections of a program, those that can be computed side by side together."""
    alike: dict[tuple[object, ...], list[PlasticProjection]] = defaultdict(list)
    for p in program.plastic:
        thirds = tuple(map(bool, p.third_factors))
        ends = [layout.source(p.source, p.num_message_bits), layout.graded[p.target]]
        sends = tuple(map(layout.carries_payload, ends))
        form = p.rule, p.weights.shape, p.weight_exp, p.sign_mode, p.num_message_bits > 0, p.graded
        alike[(*form, thirds, sends)].append(p)
    return [PlasticGroup(layout, projections) for projections in alike.values()]


def _either(before: Tensor, now: Tensor) -> Tensor:
    return before + now * (1 - before)


def _graded_trace(x1: Tensor, payload: Tensor, mode: str) -> tuple[Tensor, Tensor]:
    """`arithmetic.graded_trace`"""
    spikes = payload != 0
    if mode == "none":
        return x1, spikes
    half = straight(payload, lambda p: torch.remainder(torch.round(p / 2), 256), 0.5)
    if mode == "overwrite":
        return torch.where(spikes, half, x1), spikes
    total = straight(x1 + half, lambda x: torch.remainder(x, 256))
    if mode == "add_saturate":
        return total.clamp_max(TRACE_LIMIT), spikes
    overflow = total > TRACE_LIMIT
    return torch.where(overflow, total - TRACE_LIMIT, total), spikes & overflow


def _add_impulse(trace: Tensor, spikes: Tensor, impulse: int) -> Tensor:
    """`arithmetic.add_impulse` where traces without an impulse are not clipped."""
    return (trace + impulse * spikes).clamp(0, TRACE_LIMIT) if impulse else trace


def _decay(trace: Tensor, tau: int, random: Tensor) -> Tensor:
    """`arithmetic.decay_trace`"""
    if tau == 0:
        return torch.zeros_like(trace)
    keep = kept(tau)
    return straight(trace, lambda x: rounded(x * keep, random), keep)
