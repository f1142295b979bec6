"""Draw one-hot choices from logits so that gradients come back: ReinMax, and GDAS's Gumbel softmax."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

#: (logits float[n, f], temperature) -> one-hot choices float[n, f] through which gradients flow.
Sampler = Callable[[Tensor, float], Tensor]


class _ReinMax(torch.autograd.Function):
    """A second-order estimate of the gradient (Liu et al. 2023, "Bridging Discrete and Backpropagation").

    With p = softmax(l), z drawn from it, q = (softmax(l / tau) + z) / 2 and J_v(u) = v u - v sum(v u):
    dL/dl = J_q(2 g) - J_p(g / 2), less its mean over each row.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, tau: float, generator: torch.Generator | None) -> Tensor:
        p = logits.softmax(dim=-1)
        z = _hot(torch.multinomial(p, 1, generator=generator), p.shape[-1])
        ctx.save_for_backward(p, (logits / tau).softmax(dim=-1), z)
        return z

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (g,) = gradients
        p, softened, z = ctx.saved_tensors
        q = 0.5 * (softened + z)
        slope = _jacobian(q, 2 * g) - _jacobian(p, 0.5 * g)
        return slope - slope.mean(dim=-1, keepdim=True), None, None


def draw_reinmax(logits: Tensor, tau: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
    """One-hot draws of softmax(logits), float[n, c] each of n rows of c choices."""
    drawn: Tensor = _ReinMax.apply(logits, tau, generator)  # type: ignore[no-untyped-call]
    return drawn


def draw_gdas(logits: Tensor, tau: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
    """The same with Gumbel noise and a straight-through gradient (Dong and Yang 2019, "Searching for a Robust Neural
    Architecture in Four GPU Hours"); ``tau`` falls from 10 to 1 in its training.
    """
    uniform = torch.rand(logits.shape, generator=generator, dtype=logits.dtype)
    gumbel = -torch.log(-torch.log(uniform.clamp(1e-9, 1 - 1e-7)))
    soft = ((logits.log_softmax(dim=-1) + gumbel) / tau).softmax(dim=-1)
    hard = _hot(soft.argmax(dim=-1, keepdim=True), soft.shape[-1])
    return hard - soft.detach() + soft


SAMPLERS = {"reinmax": draw_reinmax, "gdas": draw_gdas}


def draw_choices(logits: Tensor, counts: Sequence[int], name: str, tau: float, generator: torch.Generator) -> Tensor:
    """One-hot choices float[n, f] of every gene from logits float[n, f]; genes have ``counts`` values each.

    Genes of equally many values are drawn together. Logits of -inf are never drawn.
    """
    drawn: list[Tensor] = [torch.empty(0)] * len(counts)
    genes = logits.split_with_sizes(list(counts), dim=1)
    for count in sorted(set(counts)):
        members = [i for i, c in enumerate(counts) if c == count]
        rows = torch.stack([genes[i] for i in members], dim=1).flatten(0, 1)
        chosen = SAMPLERS[name](rows, tau, generator).reshape(len(logits), len(members), count)
        for position, i in enumerate(members):
            drawn[i] = chosen[:, position]
    return torch.cat(drawn, dim=1)


def _hot(index: Tensor, size: int) -> Tensor:
    return torch.zeros(len(index), size).scatter_(1, index, 1.0)


def _jacobian(v: Tensor, u: Tensor) -> Tensor:
    return v * u - v * (v * u).sum(dim=-1, keepdim=True)
