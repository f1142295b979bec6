"""Train a generator of preferences by gradient descent over all devices at once, as MODNAS does (arXiv 2402.18213)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from fleetfront.search.generators.descent import least_norm_weights
from fleetfront.search.generators.fleet import Fleet, Scale
from fleetfront.search.generators.samplers import draw_choices

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: Accuracy of chosen architectures float[n, f]: float[n].
Relax = Callable[[Tensor], Tensor]
#: Beside the largest weighted loss of a Chebyshev scalarisation, this share of their sum: among equals the better.
_AUGMENTED = 0.05
#: Sums are of objectives scaled between the ends of a front, as published; the largest loss is of places along it.
QUANTILES = {"sum": 2, "chebyshev": 17}
#: Gumbel softmax cools from here to 1.
_HOTTEST = 10.0


@dataclass(frozen=True, slots=True)
class Descent:
    """How a network of preferences is trained.

    Attributes:
        sampler: ``reinmax`` or ``gdas``.
        gradient: ``mgd``: along the common descent direction of all devices; ``mean``; ``sequential``: a step for each
            device in turn; ``sampled``: one random device a step.
        scalar: ``chebyshev``: the largest weighted loss, which reaches every front; ``sum``: weighted sums, as
            published, which reach its convex hull alone.
        devices: at most so many devices a step, drawn anew each time.
        preferences: drawn a device and step.
        rate, decay: of Adam; the rate falls to 0 along a cosine.
        entropy: weight of the choices' entropy at first; it falls to 0.
    """

    sampler: Literal["reinmax", "gdas"] = "reinmax"
    gradient: Literal["mgd", "mean", "sequential", "sampled"] = "mgd"
    scalar: Literal["chebyshev", "sum"] = "chebyshev"
    devices: int = 13
    preferences: int = 8
    rate: float = 4e-3
    decay: float = 1e-4
    entropy: float = 1e-3


def scalarise(losses: Tensor, preferences: Tensor, scalar: str) -> Tensor:
    """float[n] of losses float[n, m], 0 at the ideal point, weighed by preferences float[n, m]."""
    weighted = losses * preferences
    if scalar == "sum":
        return weighted.sum(dim=1)
    return weighted.amax(dim=1) + _AUGMENTED * weighted.sum(dim=1)


def train_preferences(
    network: torch.nn.Module, fleet: Fleet, accuracy: Relax, descent: Descent, steps: int, seed: int
) -> None:
    """Move the network's weights ``steps`` times."""
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=descent.rate, weight_decay=descent.decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(steps, 1))
    scale, described = fleet.scale(QUANTILES[descent.scalar]), torch.from_numpy(fleet.described).float()
    for step in range(steps):
        devices = _drawn_devices(descent, fleet.size, step, rng)
        progress = step / max(steps, 1)
        n = descent.preferences
        wishes = _dirichlet(n * len(devices), scale.knots.shape[1], generator)
        logits = network(wishes, described[devices].repeat_interleave(n, dim=0))
        masked = network.masked(logits)  # type: ignore[operator]
        losses = _device_losses(fleet, scale, wishes, masked, accuracy, descent, devices, progress, generator)
        if losses is None:
            return
        optimiser.zero_grad()
        _accumulate(losses, logits, parameters, descent.gradient)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()


def _drawn_devices(descent: Descent, size: int, step: int, rng: np.random.Generator) -> list[int]:
    if descent.gradient == "sequential":
        return [step % size]
    if descent.gradient == "sampled":
        return [int(rng.integers(size))]
    return sorted(rng.permutation(size)[: descent.devices].tolist())


def _device_losses(
    fleet: Fleet,
    scale: Scale,
    wishes: Tensor,
    masked: Tensor,
    accuracy: Relax,
    descent: Descent,
    devices: list[int],
    progress: float,
    generator: torch.Generator,
) -> Tensor | None:
    """The mean loss of each device's drawn preferences, float[t]; None where no more accuracy is to be had."""
    n = descent.preferences
    counts = [len(values) for values in fleet.problem.space.choices]
    tau = 1.0 if descent.sampler == "reinmax" else _HOTTEST + (1.0 - _HOTTEST) * progress
    chosen = draw_choices(masked, counts, descent.sampler, tau, generator)
    known = accuracy(chosen)
    if len(known) < len(chosen):
        return None
    bonus = descent.entropy * (1 - progress) * _entropy(masked, counts)
    found = []
    for position, device in enumerate(devices):
        part = slice(position * n, (position + 1) * n)
        losses = fleet.losses(scale, device, chosen[part], known[part])
        found.append((scalarise(losses, wishes[part], descent.scalar) - bonus[part]).mean())
    return torch.stack(found)


def _accumulate(losses: Tensor, logits: Tensor, parameters: Sequence[Tensor], way: str) -> None:
    """Set the gradients of parameters to the step that serves all devices, of losses float[t].

    Rows of ``logits`` float[t n, f] are those of one device after another, so that one pass back to them serves all.
    """
    if way != "mgd" or len(losses) == 1:
        losses.mean().backward()  # type: ignore[no-untyped-call]
        return
    t = len(losses)
    (slopes,) = torch.autograd.grad(losses.sum(), logits, retain_graph=True)
    own = torch.zeros(t, t, len(slopes) // t, slopes.shape[1])
    own[range(t), range(t)] = slopes.view(t, len(slopes) // t, -1)
    parts = torch.autograd.grad(logits, parameters, own.view(t, *slopes.shape), is_grads_batched=True)
    stacked = torch.cat([part.flatten(1) for part in parts], dim=1)
    stacked = stacked / stacked.norm(dim=1, keepdim=True).clamp(min=1e-12)
    gram: FloatArray = (stacked @ stacked.T).double().numpy()
    step = torch.from_numpy(least_norm_weights(gram)).float() @ stacked
    at = 0
    for parameter in parameters:
        parameter.grad = step[at : at + parameter.numel()].view_as(parameter)
        at += parameter.numel()


def _dirichlet(n: int, objectives: int, generator: torch.Generator) -> Tensor:
    """Preferences float[n, m], uniform over those that sum to one."""
    drawn = -torch.log(torch.rand(n, objectives, generator=generator).clamp(min=1e-9))
    return drawn / drawn.sum(dim=1, keepdim=True)


def _entropy(logits: Tensor, counts: list[int]) -> Tensor:
    """The mean entropy of each row's genes, float[n]."""
    total = torch.zeros(len(logits))
    for gene in logits.split_with_sizes(counts, dim=1):
        log_p = gene.log_softmax(dim=1).clamp(min=-30.0)
        total = total - (log_p.exp() * log_p).sum(dim=1)
    return total / len(counts)
