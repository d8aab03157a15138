"""Plastic synapses of a batch of streams: what Lava's LearningDense does in one step.

    pre spikes   -> x1, x2 and the time tx of the last spike in the epoch
    post spikes  -> y1, y2, y3 and ty
    end of epoch -> traces decay step by step through the epoch, the rule changes the weights, tx = ty = 0

All streams share one random scalar per draw, as every stream would have it in a run of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hardware import arithmetic
from hardware.arithmetic import Bool, Int32, RandomStream
from hardware.program import PlasticProjection
from hardware.rules import FACTOR_BITS, SYNAPTIC
from hardware.state import PlasticState

PRE_TRACES = ("x1", "x2")
POST_TRACES = ("y1", "y2", "y3")

Index = npt.NDArray[np.int64]
Sites = tuple[Index, Index, Index]
"""Stream, post and pre index of synapses."""


class PlasticSynapses:
    """The synapses of one plastic projection."""

    def __init__(self, projection: PlasticProjection) -> None:
        self.projection = projection
        self.rule = projection.rule
        self.limits = {"weights": arithmetic.WEIGHT_LIMITS[projection.sign_mode], **arithmetic.TAG_LIMITS}
        products = [product for series in self.rule.series.values() for product in series]
        self.dependencies = {product.dependency: product for product in products}
        tau = arithmetic.THIRD_FACTOR_TAU if projection.three_factor else None
        self.y_taus = {trace: tau or getattr(self.rule, f"{trace}_tau") for trace in POST_TRACES}
        self.x_random = RandomStream(projection.seed)
        self.y_random = RandomStream(projection.seed + 2)
        self.weight_random = RandomStream(arithmetic.ROUNDING_SEED)

    def transmit(self, state: PlasticState, payload: Int32) -> tuple[Int32, Int32]:
        """Input [batch, post] and synaptic operations [batch] of the spikes `payload` [batch, pre]."""
        stream, pre = np.nonzero(payload)
        total = np.zeros(state.y1.shape, dtype=np.int32)
        operations = np.zeros(len(total), dtype=np.int32)
        if len(stream) == 0:
            return total, operations
        weights = state.weights[stream, :, pre]
        first = np.flatnonzero(np.diff(stream, prepend=-1))
        strength = payload[stream, pre, None] if self.projection.num_message_bits else np.int32(1)
        total[stream[first]] = np.add.reduceat(weights * strength, first)
        operations[stream[first]] = np.add.reduceat(np.count_nonzero(weights, axis=1), first)
        return arithmetic.scale_sum(total, self.projection.weight_exp), operations

    def learn(
        self,
        state: PlasticState,
        payload: Int32,
        post_spikes: Bool,
        third_factors: Sequence[Int32 | None],
        step: int,
    ) -> Int32:
        """Update `state` in place with the spikes of `step`; returns its rule evaluations [batch].

        An evaluation is one synapse at which the rule was computed; synapses where a factor that all products
        share is 0 cannot change and are left out.
        """
        position = (step - 1) % self.rule.t_epoch + 1
        if not self.projection.num_message_bits:
            payload = (payload != 0).astype(np.int32)
        self._see_pre_spikes(state, payload, position)
        self._see_post_spikes(state, post_spikes, position)
        if self.projection.three_factor:
            for trace, sent in zip(POST_TRACES, third_factors, strict=True):
                setattr(state, trace, np.zeros_like(state.y1) if sent is None else sent)
        evaluations = np.zeros(len(state.tx), dtype=np.int32)
        if position < self.rule.t_epoch:
            return evaluations
        history = self._trace_history(state, step)
        sites = self._sites(state, history, step)
        if sites is not None:
            changed = {name: self._changed(state, name, history, sites, step) for name in self.rule.series}
            for name, values in changed.items():
                getattr(state, name)[sites] = values
            evaluations += np.bincount(sites[0], minlength=len(evaluations)).astype(np.int32)
        for trace in history:
            if not (self.projection.three_factor and trace in POST_TRACES):
                setattr(state, trace, history[trace][-1])
        state.tx[:] = 0
        state.ty[:] = 0
        return evaluations

    def _see_pre_spikes(self, state: PlasticState, payload: Int32, position: int) -> None:
        state.x1, counted = arithmetic.graded_trace(state.x1, payload, self.projection.graded)
        again = counted & (state.tx > 0)
        if again.any():
            if self.projection.graded == "none":
                state.x1 = arithmetic.add_impulse(state.x1, again, self.rule.x1_impulse)
            state.x2 = arithmetic.add_impulse(state.x2, again, self.rule.x2_impulse)
        state.tx[counted] = position

    def _see_post_spikes(self, state: PlasticState, spikes: Bool, position: int) -> None:
        again = spikes & (state.ty > 0)
        if again.any():
            for trace in POST_TRACES:
                impulse = getattr(self.rule, f"{trace}_impulse")
                setattr(state, trace, arithmetic.add_impulse(getattr(state, trace), again, impulse))
        state.ty[spikes] = position

    def _trace_history(self, state: PlasticState, step: int) -> dict[str, Int32]:
        """Traces that are not 0 throughout, at every step of the epoch: [0..t_epoch, batch, neurons]."""
        history = {}
        for traces, times, random in (
            (PRE_TRACES, state.tx, self.x_random.at(2 * step)),
            (POST_TRACES, state.ty, self.y_random.at(2 * step)),
        ):
            spiked = bool(times.any())
            for name in traces:
                trace = getattr(state, name)
                impulse = getattr(self.rule, f"{name}_impulse")
                tau = self.y_taus[name] if name in POST_TRACES else getattr(self.rule, f"{name}_tau")
                if not (trace.any() or (spiked and impulse)):
                    continue
                values = [trace]
                for position in range(1, self.rule.t_epoch + 1):
                    trace = arithmetic.decay_trace(trace, tau, random)
                    trace = arithmetic.add_impulse(trace, times == position, impulse)
                    values.append(trace)
                history[name] = np.stack(values)
        return history

    def _sites(self, state: PlasticState, history: dict[str, Int32], step: int) -> Sites | None:
        """Synapses that the rule can change; None if there are none."""
        pre = self._open_gates(("x0", *PRE_TRACES), state.tx, history)
        post = self._open_gates(("y0", *POST_TRACES), state.ty, history)
        if not self.rule.gates and "tag_1" not in self.rule.series:
            post &= self._some_dependency(state, step)[:, None]
        if not pre.any() or not post.any():
            return None
        streams, posts, pres = np.nonzero(post[:, :, None] & pre[:, None, :])
        return streams, posts, pres

    def _some_dependency(self, state: PlasticState, step: int) -> Bool:
        """[batch] True where the dependency of some product is 1 somewhere."""
        active = np.zeros(len(state.tx), dtype=bool)
        for dependency, product in self.dependencies.items():
            active |= {
                "x0": state.tx.any(axis=1),
                "y0": state.ty.any(axis=1),
                "u": np.full(len(state.tx), product.acts_at(step, self.rule.t_epoch)),
            }[dependency]
        return active

    def _open_gates(self, names: tuple[str, ...], times: Int32, history: dict[str, Int32]) -> Bool:
        """Neurons at which all gates among `names` are open."""
        open_gates = np.ones(times.shape, dtype=bool)
        for name in self.rule.gates.intersection(names):
            if name in ("x0", "y0"):
                open_gates &= times > 0
            elif name in history:
                open_gates &= history[name].any(axis=0)
            else:
                open_gates[:] = False
        return open_gates

    def _changed(
        self, state: PlasticState, target: str, history: dict[str, Int32], sites: Sites, step: int
    ) -> Int32:
        """New values of `target` at `sites`: products read the old values; sums and limits in rule order."""
        stream, post, pre = sites
        accumulator = getattr(state, target)[sites] << arithmetic.WEIGHT_FRACTION_BITS
        for product in self.rule.series[target]:
            times = {
                "x0": state.tx[stream, pre],
                "y0": state.ty[stream, post],
                "u": np.full((1,), product.acts_at(step, self.rule.t_epoch) * self.rule.t_epoch),
            }[product.dependency]
            value = (times > 0).astype(np.int32)
            for factor in product.factors:
                name = factor.variable
                if name in SYNAPTIC and (SYNAPTIC[name] in self.rule.series or name == "w"):
                    read = getattr(state, SYNAPTIC[name])[sites]
                elif name == "x0":
                    read = (state.tx[stream, pre] > 0).astype(np.int32)
                elif name == "y0":
                    read = (state.ty[stream, post] > 0).astype(np.int32)
                elif name in history:
                    read = history[name][times, stream, pre if name in PRE_TRACES else post]
                else:
                    read = np.zeros((1,), dtype=np.int32)
                value = value * arithmetic.limit_factor(read, int(factor.constant), FACTOR_BITS[name])
            change = arithmetic.scale_product(value, product.mantissa, product.exponent, product.shift)
            accumulator = arithmetic.add_change(accumulator, change)
        random = self.weight_random.at(step // self.rule.t_epoch)
        return arithmetic.round_synapses(accumulator, self.limits[target], random)
