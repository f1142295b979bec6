"""BLEU of transformers, from the few that somebody trained and tested: what so few points allow, and no more.

A score is a line in the logarithms of parameters and of decoder layers, held at the ends of what was tested: beyond it
nothing is told apart. Leaving each point out in turn tells the error.
"""

from __future__ import annotations

import ast
import csv
import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.files import check_regular
from fleetfront.predictors.relaxed import by_look_up
from fleetfront.quantities import BLEU, Estimate, Quality, Tier
from fleetfront.spaces.base import Genotypes, SearchSpace

if TYPE_CHECKING:
    from torch import Tensor

    from fleetfront.quantities import FloatArray

#: Fewer points tell nothing of three coefficients.
_FEWEST = 10
#: What the tables call the last layers that a decoder layer listens to -> how many.
_LISTENS = {-1: 1, 1: 2, 2: 3}
_REMEDY = "Give bleu:FILE[:TASK] with DyNAS-T's table, or with the published networks and a task, e.g. :WMT'14 En-De."
#: Names of DyNAS-T's genes -> those of the published networks.
_NAMES = {
    "encoder_embed_dim": "encoder-embed-dim-subtransformer",
    "decoder_embed_dim": "decoder-embed-dim-subtransformer",
    "encoder_ffn_embed_dim": "encoder-ffn-embed-dim-all-subtransformer",
    "encoder_self_attention_heads": "encoder-self-attention-heads-all-subtransformer",
    "decoder_layer_num": "decoder-layer-num-subtransformer",
    "decoder_ffn_embed_dim": "decoder-ffn-embed-dim-all-subtransformer",
    "decoder_self_attention_heads": "decoder-self-attention-heads-all-subtransformer",
    "decoder_ende_attention_heads": "decoder-ende-attention-heads-all-subtransformer",
    "decoder_arbitrary_ende_attn": "decoder-arbitrary-ende-attn-all-subtransformer",
}


@dataclass(frozen=True, slots=True)
class BleuLine:
    """An AccuracyModel whose answers are BLEU.

    Attributes:
        coefficients: float64[3]: constant, and those of the two logarithms.
        low, high: float64[2]: ends of what was tested, in logarithms.
        error: root mean square of what each point is off when it is left out.
        points: how many there are.
        lowest: the lowest tested.
    """

    space: SearchSpace
    source: str
    coefficients: FloatArray
    low: FloatArray
    high: FloatArray
    error: float
    points: int
    lowest: float
    quality: Quality = BLEU
    tier: Tier = Tier.PREDICTED

    @property
    def fingerprint(self) -> str:
        """Differs where the points do."""
        return hashlib.sha256(np.ascontiguousarray(self.coefficients).tobytes()).hexdigest()

    @property
    def column(self) -> str:
        """The column of the table that serves."""
        return "BLEU"

    @property
    def warnings(self) -> tuple[str, ...]:
        """The limits of so few points."""
        return (
            f"{self.points} networks tell BLEU: a new one is {self.error:.2f} off (each left out in turn). Sizes are "
            "told apart, heads and widths of equal size are not; beyond the tested sizes BLEU is held.",
        )

    def predict(self, genotypes: Genotypes) -> Estimate:
        """BLEU of n genotypes int8[n, v]."""
        x = np.clip(_logs(self.space, genotypes), self.low, self.high)
        mean = self.coefficients[0] + x @ self.coefficients[1:]
        return Estimate(mean, np.full(len(mean), self.error), self.tier)

    def beyond_range(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """bool[n]: networks larger or smaller than any that was tested."""
        x = _logs(self.space, genotypes)
        outside: NDArray[np.bool_] = np.any((x < self.low) | (x > self.high), axis=1)
        return outside

    def relaxed(self, choice_probabilities: Tensor) -> Tensor:
        """BLEU float32[n] of the likeliest networks of float32[n, f]; slopes come from looking their neighbours up."""
        return by_look_up(self.space, lambda rows: self.predict(rows).mean, choice_probabilities)


def learn_bleu(path: Path, space: SearchSpace, task: str = "") -> BleuLine:
    """From DyNAS-T's table of a supernet's networks, or the published networks of one ``task``.

    Raises InputError if the file is neither, or tells too few networks of the space.
    """
    try:
        check_regular(path)
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))
        told = [_told(row) for row in rows if not task or row.get("task") == task]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, ValueError, TypeError, SyntaxError) as error:
        raise InputError(f"{path} tells no BLEU ({type(error).__name__}: {error}).", _REMEDY) from error
    tasks = {row.get("task", "") for row in rows}
    if len(tasks) > 1 and not task:
        raise InputError(f"{path} is of several tasks: {', '.join(sorted(map(str, tasks)))}.", _REMEDY)
    if len(told) < _FEWEST:
        raise InputError(
            f"{path} tells {len(told)} networks{f' of {task}' if task else ''}, {_FEWEST} are needed.", _REMEDY
        )
    x, bleu = _logs(space, space.parse([arch for arch, _ in told])), np.array([value for _, value in told])
    design = np.column_stack([np.ones(len(x)), x])
    inverse = np.linalg.pinv(design)
    leverage = np.minimum(np.einsum("nk,kn->n", design, inverse), 1 - 1e-6)
    coefficients = inverse @ bleu
    left_out = float(np.sqrt(np.mean(((bleu - design @ coefficients) / (1 - leverage)) ** 2)))
    source = f"bleu:{path}" + (f":{task}" if task else "")
    return BleuLine(space, source, coefficients, x.min(axis=0), x.max(axis=0), left_out, len(told), float(bleu.min()))


def _logs(space: SearchSpace, genotypes: Genotypes) -> FloatArray:
    """Logarithms of parameters and decoder layers, float64[n, 2]. Raises InputError on a space without the latter."""
    if "decoder_layers" not in space.gene_names:
        raise InputError(f"{space.name} has no decoder layers.", "BLEU is told of hat-wmt14 alone.")
    gene = space.gene_names.index("decoder_layers")
    layers = np.asarray(space.choices[gene], np.float64)[genotypes[:, gene]]
    return np.log(np.stack([space.params(genotypes).astype(np.float64), layers], axis=1))


def _told(row: Mapping[str, str]) -> tuple[str, float]:
    """The network and its BLEU. Raises KeyError, ValueError or TypeError on anything else."""
    if "Sub-network" in row:
        genes: dict[str, Any] = ast.literal_eval(row["Sub-network"])
        return _arch(genes), float(row["BLEU Score"])
    return _arch({name: ast.literal_eval(row[column]) for name, column in _NAMES.items()}), float(row["bleu"])


def _arch(genes: Mapping[str, Any]) -> str:
    def one(name: str) -> int:
        value = genes[name]
        return int(value[0] if isinstance(value, list) else value)

    layers = one("decoder_layer_num")
    parts = {
        "ef": genes["encoder_ffn_embed_dim"][:6],
        "eh": genes["encoder_self_attention_heads"][:6],
        "df": genes["decoder_ffn_embed_dim"][:layers],
        "dh": genes["decoder_self_attention_heads"][:layers],
        "dc": genes["decoder_ende_attention_heads"][:layers],
        "dn": [_LISTENS[value] for value in genes["decoder_arbitrary_ende_attn"][:layers]],
    }
    spelled = {key: key + "-".join(map(str, values)) for key, values in parts.items()}
    widths = f"e{one('encoder_embed_dim')}_d{one('decoder_embed_dim')}"
    encoder = f"{widths}_{spelled['ef']}_{spelled['eh']}_dl{layers}"
    return "_".join([encoder, *(spelled[key] for key in ("df", "dh", "dc", "dn"))])
