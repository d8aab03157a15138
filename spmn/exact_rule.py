"""A chip learning rule in torch: sums of products in `hardware.rules.ChipRule`, exact and differentiable.

Gradients: rounding passes, clips pass inside. Where graded spikes overwrite x1 and a product has x0 * x1,
half the payload stands for both, as in the float network: a key neuron that was silent is told what it would
have written.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hardware.arithmetic import ACCUMULATOR_RANGE, TAG_LIMITS, WEIGHT_FRACTION_BITS, WEIGHT_LIMITS, kept
from hardware.program import PlasticProjection
from hardware.rules import FACTOR_BITS, SYNAPTIC, ChipProduct
from spmn.straight import straight, wrap

X_TRACES = ("x1", "x2")
Y_TRACES = ("y1", "y2", "y3")
INT32_BITS = 31
MANTISSA_BITS = 3

Rows = tuple[Tensor, Tensor, Tensor]
"""Stream, projection and pre neuron of rows of synapses, each [rows]."""


@dataclass(frozen=True)
class Synapses:
    """State of a group of G projections from K pre to V post neurons each, float64.

    weights, tags: [batch, G, K, V], a tag that no rule changes [batch, G, 0, 0]; of the pre side
    [batch, G, K], of the post side [batch, G, V]. x0, y0: 1 where a neuron has fired in this epoch, at step
    tx, ty of it. The others are those of `hardware.state.PlasticState`.
    """

    weights: Tensor
    tag_1: Tensor
    tag_2: Tensor
    x0: Tensor
    x1: Tensor
    x2: Tensor
    tx: Tensor
    y0: Tensor
    y1: Tensor
    y2: Tensor
    y3: Tensor
    ty: Tensor


@dataclass(frozen=True)
class RuleStep:
    """What a rule sees at the end of an epoch, in some rows of synapses.

    Args:
        form: a projection with the rule.
        history: traces that are not 0 throughout, at the t_epoch + 1 steps of the epoch.
        payload: [batch, G, K] of the pre side at the last step.
    """

    form: PlasticProjection
    synapses: Synapses
    history: dict[str, list[Tensor]]
    payload: Tensor
    rows: Rows
    step: int

    def changed(self, target: str, random: float) -> Tensor:
        """New values [rows, V] of `target`: products read the old values; sums and limits in rule order."""
        before: Tensor = getattr(self.synapses, target)
        accumulator = before[self.rows] * 2.0**WEIGHT_FRACTION_BITS
        for product in self.form.rule.series[target]:
            value, bits = self._product(product)
            change = _scaled(value, bits, product).clamp(*ACCUMULATOR_RANGE)
            accumulator = (accumulator + change).clamp(*ACCUMULATOR_RANGE)
        limits = {"weights": WEIGHT_LIMITS[self.form.sign_mode], **TAG_LIMITS}
        low, high = limits[target]
        if low == 0:
            accumulator = accumulator.clamp_min(0)
        if high == 0:
            accumulator = accumulator.clamp_max(0)
        accumulator = accumulator / 2.0**WEIGHT_FRACTION_BITS
        return straight(accumulator, lambda x: rounded(x, random)).clamp(low, high)

    def _product(self, product: ChipProduct) -> tuple[Tensor, int]:
        """Dependency times factors, [rows, V] or a shape that broadcasts, and the bits that it may need."""
        s, rule, (stream, group, _) = self.synapses, self.form.rule, self.rows
        x0, y0 = s.x0[self.rows][:, None], s.y0[stream, group]
        times: Tensor | int = rule.t_epoch
        if product.dependency == "u":
            value = x0.new_full((1, 1), float(product.acts_at(self.step, rule.t_epoch)))
        else:
            value = x0 if product.dependency == "x0" else y0
            if rule.t_epoch > 1:  # else the time is 1, or the product 0
                spiked = s.tx[self.rows][:, None] if product.dependency == "x0" else s.ty[stream, group]
                times = spiked.long()
        factors, bits = list(product.factors), 0
        pair = next((f for f in factors if f.variable == "x1" and f.constant == 0), None)
        if pair and product.dependency == "x0" and self.form.graded == "overwrite" and rule.t_epoch == 1:
            factors.remove(pair)
            bits = FACTOR_BITS["x1"]
            written = (x0 * self._seen("x1", 1)).detach()
            value = straight(self.payload[self.rows][:, None], lambda _: written, 0.5 * kept(rule.x1_tau))
        for factor in factors:
            name, limit = factor.variable, 2.0 ** FACTOR_BITS[factor.variable]
            if name in ("x0", "y0"):
                read = x0 if name == "x0" else y0
            elif name == "w" or SYNAPTIC.get(name) in rule.series:
                variable: Tensor = getattr(s, SYNAPTIC[name])
                read = variable[self.rows]
            else:
                read = self._seen(name, times)
            read = (read + int(factor.constant)).clamp(-limit, limit - 1)
            value, bits = _fits(value * read, bits + FACTOR_BITS[name])
        return value, bits

    def _seen(self, name: str, times: Tensor | int) -> Tensor:
        """A trace in rows of synapses as it was at `times` of the epoch; 0 for what is not in the history."""
        stream, group, pre = (index[:, None] for index in self.rows)
        if name not in self.history:
            return torch.zeros_like(stream, dtype=torch.float64)
        values = self.history[name]
        neuron = pre if name in X_TRACES else torch.arange(values[0].shape[-1], device=pre.device)
        if isinstance(times, int):
            return values[times][stream, group, neuron]
        return torch.stack(values)[times, stream, group, neuron]


def rounded(x: Tensor, random: Tensor | float) -> Tensor:
    """floor(x) + [random < x mod 1]"""
    whole = torch.floor(x)
    return whole + (x - whole > random)


def _fits(value: Tensor, bits: int) -> tuple[Tensor, int]:
    """value as int32, where it may need more than its bits."""
    return (value, bits) if bits < INT32_BITS else (straight(value, wrap), INT32_BITS)


def _scaled(value: Tensor, bits: int, product: ChipProduct) -> Tensor:
    """`arithmetic.scale_product` before its clip."""
    value, bits = _fits(value * product.mantissa, bits + MANTISSA_BITS)
    exponent = product.exponent + WEIGHT_FRACTION_BITS
    value = straight(value * 2.0**-product.shift, torch.floor) * 2.0**exponent
    return _fits(value, bits - product.shift + exponent)[0]
