"""Plastic synapses: learning rules, their evaluation on spikes, and the scan that reads and writes M.

A rule is one object, `hardware.LearningRule`: a sum of products of pre spikes x0, pre trace x1, post spikes
y0, post trace y1, weight w and constants. This file evaluates it in torch; `hardware.lowering.lower` turns
the same object into chip integers.

Spikes and traces are in [0, 1], weights in [rule.low, rule.high]. A rule of resolution "event" sees one
learning step per event, in which a neuron that fired in the window counts once (the coincidence limit of
trace-based STDP); one of resolution "step" learns in every step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hardware.rules import LearningRule
from spmn import operators
from spmn.errors import SettingsError
from spmn.settings import require

TWO_FACTOR = LearningRule(
    name="two-factor",
    dw="lp*x0*x1*y0*(1-w) - ld*x0*x1*w",
    resolution="event",
    rates={"lp": 0.5, "ld": 0.5},
)
"""Soft-bounded LTP where key and association fire together, LTD of all else that an active key held."""

ERROR_DRIVEN = LearningRule(
    name="error-driven",
    dw="lp*x0*x1*y1 - lp*x0*x1*y2",
    resolution="event",
    rates={"lp": 0.5},
    low=-1.0,
    high=1.0,
)
"""Delta rule, M += lp k (a - M^T k / |k|)^T: y2 is what the write key recalls before the write.

Widrow and Hoff 1960; as fast weights Schlag et al. 2021 (arXiv 2102.11174). Not deployable: y2 would need a
second, signed post trace and a third factor on the chip.
"""

PAIR_STDP = LearningRule(
    name="pair-stdp",
    dw="ap*x1*y0 - am*x0*y1",
    resolution="step",
    rates={"ap": 0.3, "am": 0.15},
    x1_tau=2.0,
    y1_tau=2.0,
)
"""Classical pair STDP: LTP for pre before post, LTD for post before pre.

Bi and Poo 1998; as additive rule on traces Song, Miller and Abbott 2000.
"""

RULES = {rule.name: rule for rule in (TWO_FACTOR, ERROR_DRIVEN, PAIR_STDP)}


def rule_named(name: str) -> LearningRule:
    """The built-in rule of this name; raises SettingsError naming those that exist."""
    if name not in RULES:
        raise SettingsError(f"there is no learning rule {name!r}; choose one of {', '.join(RULES)}")
    return RULES[name]


class Terms(NamedTuple):
    """A rule on given spikes: dw[k, v] = sum_p pre[p, k] post[p, v] (affine[p, 0] + affine[p, 1] w[k, v])."""

    pre: Tensor  # [..., products, K], the product's rate and sign included
    post: Tensor  # [..., products, V]
    affine: Tensor  # [products, 2]
    predict: tuple[bool, ...]  # products whose post factor is multiplied by y2, the prediction


def terms(rule: LearningRule, strengths: Tensor, x0: Tensor, x1: Tensor, y0: Tensor, y1: Tensor) -> Terms:
    """Sort each product of the rule into what depends on the pre side, the post side and the weight.

    strengths: coefficient * rate of every product, [P] or [..., P]; x0, x1: [..., K]; y0, y1: [..., V]. Where
    a side has no time constant its trace is its spike, and a binary spike times itself is itself: it enters a
    product once. A trace times itself is its square.

    Raises SettingsError for a product that is not linear in w or uses a variable that training does not have.
    """
    pres, posts, affines, predicts = [], [], [], []
    variables = {"x0": x0, "x1": x1 if rule.x1_tau else x0, "y0": y0, "y1": y1 if rule.y1_tau else y0}
    for product, strength in zip(rule.products, strengths.unbind(-1), strict=True):
        pre, post = torch.ones_like(x0), torch.ones_like(y0)
        affine, predict, used = (1.0, 0.0), False, set[str]()
        for factor in product.factors:
            name = factor.variable
            if name == "w" and affine == (1.0, 0.0):
                affine = (factor.constant, float(factor.sign))
            elif name == "y2" and factor.sign == 1 and factor.constant == 0 and not predict:
                predict = True
            elif name in variables:
                side, plain = name[0], factor.constant == 0 and factor.sign == 1
                if plain and (name[1] == "0" or not getattr(rule, f"{side}1_tau")):
                    if side in used:
                        continue
                    used.add(side)
                value = factor.constant + factor.sign * variables[name]
                pre, post = (pre * value, post) if name[0] == "x" else (pre, post * value)
            else:
                raise SettingsError(
                    f"rule {rule.name!r}: training cannot evaluate the factor {factor} in {rule.dw!r}; "
                    "use x0, x1, y0, y1, y2 once, and w at most once per product"
                )
        pres.append(pre * strength[..., None])
        posts.append(post)
        affines.append(affine)
        predicts.append(predict)
    return Terms(
        torch.stack(pres, -2), torch.stack(posts, -2), torch.tensor(affines).to(strengths), tuple(predicts)
    )


class ByEvent(NamedTuple):
    """A rule that learns once per event, from what fired in its window: x = r k and y = u a, both 0 or 1.

    dw[k, v] = x_k sum_p strength_p (q0_p + q1_p y_v) (c_p + l_p w_kv), times the prediction y2_v where
    asked for; strengths are `Rates.strengths`
    """

    factors: tuple[float, ...]  # q0, q1, c, l of each product, one after the other
    predict: tuple[bool, ...]  # products that are multiplied by y2


def by_event(rule: LearningRule) -> ByEvent | None:
    """The rule in the form that the level's kernel takes; None if it has another.

    Every product must contain the key, at most one factor of the association and one of the weight.
    """
    if rule.resolution != "event" or rule.x1_tau or rule.y1_tau:
        return None
    factors: list[float] = []
    predict = []
    plain = (0.0, 1.0)
    for product in rule.products:
        kinds: dict[str, set[tuple[float, float]]] = {"x": set(), "y": set(), "w": set(), "y2": set()}
        for factor in product.factors:
            kind = factor.variable if factor.variable in kinds else factor.variable[0]
            if factor.variable not in ("x0", "x1", "y0", "y1", "y2", "w"):
                return None
            value = (float(factor.constant), float(factor.sign))
            if kinds[kind] and (kind in ("w", "y2") or value != plain):  # only a spike times itself is itself
                return None
            kinds[kind].add(value)
        if kinds["x"] != {plain} or len(kinds["y"]) > 1 or kinds["y2"] - {plain}:
            return None
        factors += *next(iter(kinds["y"]), (1.0, 0.0)), *next(iter(kinds["w"]), (1.0, 0.0))
        predict.append(bool(kinds["y2"]))
    return ByEvent(tuple(factors), tuple(predict))


def trace(spikes: Tensor, tau: float, start: Tensor | None = None) -> Tensor:
    """Synaptic trace of spikes along dimension 0: x[t] = exp(-1/tau) x[t-1] + s[t]; tau = 0: x = s."""
    if tau == 0:
        return spikes
    decay = math.exp(-1.0 / tau)
    x = torch.zeros_like(spikes[0]) if start is None else start
    out = []
    for fired in spikes:
        x = decay * x + fired
        out.append(x)
    return torch.stack(out)


def scan_reference(
    read: Tensor,
    pre: Tensor,
    post: Tensor,
    affine: Tensor,
    bounds: Sequence[float],
    writes: Tensor,
    memory: Tensor,
    predict: Sequence[bool] = (),
) -> tuple[Tensor, Tensor]:
    """Read and write the plastic weights event after event: slow, plain, the oracle of the kernels.

    For every group (a story's head) and event n:
        currents[n, t] = M^T read[n, t]
        for each learning step:
            M <- clip(M + sum_p pre[p] post[p]^T (affine[p, 0] + affine[p, 1] M), low, high)

    read: [G, N, T, K]; pre: [G, N, L, P, K]; post: [G, N, L, P, V]; affine: [P, 2]; bounds: (low, high);
    writes: [G, N] bool, False where nothing is learnt; memory: [G, K, V]. `predict` marks the products whose
    post factor is multiplied by y2 = M^T x / |x|, x = |pre[p]|: the mean weight under the active keys.
    Returns currents [G, N, T, V] and the memory after the last event.
    """
    currents = []
    for n in range(read.shape[1]):
        currents.append(read[:, n] @ memory)
        for step in range(pre.shape[2]):
            a, b = pre[:, n, step], post[:, n, step]
            if any(predict):
                key = a.detach().abs()
                prediction = (key @ memory) / key.sum(-1, keepdim=True).clamp_min(1e-6)
                b = torch.where(torch.tensor(predict, device=b.device)[:, None], b * prediction, b)
            constant = torch.einsum("gpk,gpv->gkv", a * affine[:, :1], b)
            linear = torch.einsum("gpk,gpv->gkv", a * affine[:, 1:], b)
            updated = (memory + constant + linear * memory).clamp(bounds[0], bounds[1])
            memory = torch.where(writes[:, n, None, None], updated, memory)
    if not currents:
        return read.new_zeros(*read.shape[:3], memory.shape[-1]), memory
    return torch.stack(currents, 1), memory


def scan(
    read: Tensor, rule: LearningRule, found: Terms, writes: Tensor, memory: Tensor
) -> tuple[Tensor, Tensor]:
    """`scan_reference` by the fastest kernel that can do it; groups may be two dimensions [B, H]."""
    if not operators.fused(memory):
        return scan_plain(read, rule, found, writes, memory)
    bounds = rule.low, rule.high
    return operators.memory_scan(
        read, found.pre, found.post, found.affine, bounds, writes, memory, found.predict
    )


def scan_plain(
    read: Tensor, rule: LearningRule, found: Terms, writes: Tensor, memory: Tensor
) -> tuple[Tensor, Tensor]:
    """`scan` in plain torch."""
    groups = writes.shape[:-1]
    read, pre, post, writes, m = (
        x.flatten(0, len(groups) - 1) for x in (read, found.pre, found.post, writes, memory)
    )
    bounds = rule.low, rule.high
    currents, after = scan_reference(read, pre, post, found.affine, bounds, writes, m, found.predict)
    return currents.view(*groups, *currents.shape[1:]), after.view(memory.shape)


def fired(spikes: Tensor, gate: Tensor) -> Tensor:
    """1 where a neuron spiked in the window and its gate is open: max over t of spikes[t] * gate.

    spikes: [T, ..., n] of 0 and 1; gate: [...] of 0 and 1; returns [..., n]. Gradients are those of amax: the
    spikes of a neuron share its gradient evenly; so do all steps of one that was silent or shut off.
    """
    found: Tensor = _Fired.apply(spikes, gate)  # type: ignore[no-untyped-call]
    return found


class _Fired(torch.autograd.Function):
    """`(spikes * gate).amax(0)` in two passes over time instead of nine."""

    @staticmethod
    def forward(ctx: Any, spikes: Tensor, gate: Tensor) -> Tensor:
        count = spikes.sum(0)
        ctx.save_for_backward(spikes, gate, count)
        return count.clamp(max=1) * gate[..., None]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        spikes, gate, count = ctx.saved_tensors
        steps = len(spikes)
        through = grads[0] * gate[..., None]
        silent = count == 0
        each = through / torch.where(silent, steps, count)
        back = torch.addcmul((each * silent).expand_as(spikes), spikes, each)
        seen = torch.where(gate[..., None] > 0, count.clamp(max=1), count / steps)
        return back, (grads[0] * seen).sum(-1)


LEAST_RATE = 0.001
"""Of a trained rate, which lies between it and 1 - it at first."""
SPEED = 10.0
"""How much faster a rate learns than a weight: Adam moves all alike, and a logit has further to go."""


class Rates(nn.Module):
    """The trained rates of a rule, each in (0, 1): rate = sigmoid(SPEED * logit).

    shape: of each rate, () or one for each of some heads. `rounding`, where there is one, makes of the
    strengths those that are computed with.

    Raises SettingsError for a default beyond 0.001..0.999, where a rate would hardly learn.
    """

    def __init__(self, rule: LearningRule, shape: Sequence[int] = ()) -> None:
        super().__init__()
        self.rule = rule
        self.rounding: Callable[[Tensor], Tensor] | None = None
        self.names = sorted(rule.rates)
        for name in self.names:
            require(
                LEAST_RATE <= rule.rates[name] <= 1 - LEAST_RATE,
                f"the rate {name} of rule {rule.name!r}",
                rule.rates[name],
                f"from {LEAST_RATE} to {1 - LEAST_RATE}; write more as a constant times a rate (4*eta)",
            )
        start = torch.tensor([rule.rates[name] for name in self.names])
        self.logits = nn.Parameter((torch.logit(start) / SPEED).expand(*shape, -1).clone())

    def forward(self) -> dict[str, Tensor]:
        return dict(zip(self.names, torch.sigmoid(SPEED * self.logits).unbind(-1), strict=True))

    def strengths(self) -> Tensor:
        """coefficient * rate of every product, as it is computed with: [*shape, P]."""
        rates, one = self(), self.logits.new_ones(self.logits.shape[:-1])
        each = [p.coefficient * (one if p.rate is None else rates[p.rate]) for p in self.rule.products]
        strengths = torch.stack(each, -1)
        return self.rounding(strengths) if self.rounding else strengths


class PlasticState(NamedTuple):
    """Everything a plastic layer remembers between calls."""

    weights: Tensor  # [B, n_pre, n_post]
    x1: Tensor  # [B, n_pre], synaptic trace of the pre spikes
    y1: Tensor  # [B, n_post], synaptic trace of the post spikes


class PlasticLayer(nn.Module):
    """Plastic synapses for your own network: every sample has weights of its own that learn while it runs.

        I[t] = w^T x0[t];   traces as `trace`;   w <- clip(w + dw(x0, x1, y0, y1, w), low, high)

    The rates of the rule are trained by backpropagation through the plasticity, from 0.001 to 0.999: what is
    to learn faster has a constant before its rate, such as 4*eta. Every step learns, also by a rule of
    resolution "event": the layer knows no events but steps. State goes in and comes out:

        layer = PlasticLayer(100, 10, rule="pair-stdp")
        state = layer.start(batch=32)
        current, state = layer(pre_spikes, post_spikes, state)      # [T, 32, 100], [T, 32, 10] -> [T, 32, 10]

    In a loop in which the current decides the post spikes, read with `post_spikes` zero and T = 1 first, or
    feed the post spikes of the step before. `rule` is a name in RULES or a LearningRule of your own.

    Raises SettingsError for a rule that does not exist or cannot be trained, and for sizes below 1.
    """

    def __init__(self, n_pre: int, n_post: int, rule: str | LearningRule = "two-factor") -> None:
        super().__init__()
        for name, size in (("n_pre", n_pre), ("n_post", n_post)):
            require(isinstance(size, int) and size >= 1, name, size, "a whole number from 1")
        self.n_pre, self.n_post = n_pre, n_post
        self.rule = rule_named(rule) if isinstance(rule, str) else rule
        self.rates = Rates(self.rule)
        nothing = torch.zeros(1)
        terms(self.rule, self.rates.strengths(), nothing, nothing, nothing, nothing)  # or raises at once

    def start(self, batch: int, weight: float | None = None) -> PlasticState:
        """Silent traces and equal weights (the rule's lower bound, but at least 0, if none are given).

        Raises SettingsError for a weight beyond the rule's bounds.
        """
        like, (low, high) = self.rates.logits, (self.rule.low, self.rule.high)
        weight = max(low, 0.0) if weight is None else weight
        require(low <= weight <= high, "weight", weight, f"from {low:g} to {high:g}, the rule's bounds")
        return PlasticState(
            like.new_full((batch, self.n_pre, self.n_post), weight),
            like.new_zeros(batch, self.n_pre),
            like.new_zeros(batch, self.n_post),
        )

    def forward(self, pre: Tensor, post: Tensor, state: PlasticState) -> tuple[Tensor, PlasticState]:
        """pre: [T, B, n_pre], post: [T, B, n_post] spikes; returns currents [T, B, n_post] and the state.

        Raises SettingsError for other shapes, of spikes or of the state.
        """
        steps, batch = pre.shape[:1], len(state.weights)
        needed = {
            "pre": (pre, (*steps, batch, self.n_pre)),
            "post": (post, (*steps, batch, self.n_post)),
            "weights": (state.weights, (batch, self.n_pre, self.n_post)),
            "x1": (state.x1, (batch, self.n_pre)),
            "y1": (state.y1, (batch, self.n_post)),
        }
        operators.check_shapes(needed)
        require(len(pre) >= 1, "steps", len(pre), "at least 1")
        like = self.rates.logits
        pre, post, state = pre.to(like), post.to(like), PlasticState(*(x.to(like) for x in state))
        x1 = trace(pre, self.rule.x1_tau, state.x1)
        y1 = trace(post, self.rule.y1_tau, state.y1)
        x0, y0, x, y = (s.movedim(0, 1)[:, :, None] for s in (pre, post, x1, y1))  # [B, T, 1, n]
        writes = torch.ones(x0.shape[:2], dtype=torch.bool, device=pre.device)
        currents, weights = scan(
            x0, self.rule, terms(self.rule, self.rates.strengths(), x0, x, y0, y), writes, state.weights
        )
        return currents[:, :, 0].movedim(1, 0), PlasticState(weights, x1[-1], y1[-1])


class PlasticMemory(nn.Module):
    """The memory of one SPMN level: heads of plastic synapses, written once per event, read in every step.

    currents[t] = gain M^T q[t] / (0.15 K) + bias,   M as before the event
    then M <- clip(M + dw, low, high) with x = r k and y = u a          (r, u: the gates, per head)

    The gain and the rates of the rule are the same for all heads, or each has its own (`per_head`).
    """

    def __init__(
        self, rule: LearningRule, heads: int, keys: int, values: int, per_head: bool = False
    ) -> None:
        super().__init__()
        self.rule, self.heads, self.keys, self.values = rule, heads, keys, values
        own = (heads,) if per_head else ()
        self.rates = Rates(rule, own)
        self.gain = nn.Parameter(torch.full(own, 6.0))
        self.bias = nn.Parameter(torch.zeros(heads, values))

    def start(self, batch: int) -> Tensor:
        """An empty M: [B, H, K, V]."""
        return self.gain.new_zeros(batch, self.heads, self.keys, self.values)

    def forward(
        self, q: Tensor, k: Tensor, a: Tensor, u: Tensor, r: Tensor, writes: Tensor, memory: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Recall currents [T, B, N, H, V] and M after the last event.

        q, k: [T, B, N, H, K]; a: [T, B, N, H, V]; u, r: [B, N, H], 1 where the gate opened in the window;
        writes: [B, N] bool, False for questions and padding; memory: [B, H, K, V].
        """
        if self.rule.resolution == "event":
            x0, y0 = fired(k, r)[None], fired(a, u)[None]
        else:
            x0, y0 = k * r[..., None], a * u[..., None]
        x1, y1 = trace(x0, self.rule.x1_tau), trace(y0, self.rule.y1_tau)

        def by_head(s: Tensor) -> Tensor:
            """[L, B, N, H, n] -> [B, H, N, L, n], a view."""
            return s.permute(1, 3, 2, 0, 4)

        strengths = self.rates.strengths()[..., None, None, :]  # of groups [B, H, N, L]
        found = terms(self.rule, strengths, by_head(x0), by_head(x1), by_head(y0), by_head(y1))
        per_head = writes[:, None].expand(-1, self.heads, -1)
        currents, after = scan(by_head(q), self.rule, found, per_head, memory)
        return self.scale[..., None] * currents.permute(3, 0, 2, 1, 4) + self.bias, after

    @property
    def scale(self) -> Tensor:
        """gain / (0.15 K): the current of one active read key through a weight of 1; [H] where each head has
        its own."""
        return self.gain / (0.15 * self.keys)
