"""HatSpace holds the encoder-decoder transformers of Hardware-Aware Transformers (Wang et al., ACL 2020) for WMT'14."""

from __future__ import annotations

from dataclasses import dataclass

from fleetfront.spaces.base import Genotypes
from fleetfront.spaces.tabular.space import Counts, Group, TabularSpace

#: Encoder layers, of which there are always as many, decoder layers at most, and the width of all heads together.
ENCODER_LAYERS, _DECODER_LAYERS, _QKV = 6, 6, 512
#: As the latency tables were drawn; the published search left 512 and 2 out.
FFN_WIDTHS, HEADS, WIDTHS = (512, 1024, 2048, 3072), (2, 4, 8), (512, 640)
#: To how many of the last encoder layers a decoder layer listens.
LISTENS_TO = (1, 2, 3)


def hat_wmt14() -> HatSpace:
    """Networks for WMT'14 English-German and English-French."""
    n, of_decoder = _DECODER_LAYERS, "decoder_layers"
    groups = (
        Group("e", "encoder_width", WIDTHS),
        Group("d", "decoder_width", WIDTHS),
        Group("ef", "encoder_ffn", FFN_WIDTHS, ENCODER_LAYERS),
        Group("eh", "encoder_heads", HEADS, ENCODER_LAYERS),
        Group("dl", of_decoder, tuple(range(1, n + 1))),
        Group("df", "decoder_ffn", FFN_WIDTHS, n, of_decoder),
        Group("dh", "decoder_self_heads", HEADS, n, of_decoder),
        Group("dc", "decoder_cross_heads", HEADS, n, of_decoder),
        Group("dn", "decoder_listens_to", LISTENS_TO, n, of_decoder),
    )
    return HatSpace("hat-wmt14", groups)


@dataclass(frozen=True)
class HatSpace(TabularSpace):
    """The family, e.g. ``e512_d640_ef1024-.._eh4-.._dl2_df1024-3072_dh4-8_dc4-4_dn1-2``."""

    @property
    def importer(self) -> str:
        """The command that imports a table of the space."""
        return f"fleetfront import hat FILE --device NAME --space {self.name}"

    def macs(self, genotypes: Genotypes) -> Counts:
        """int64[n]: products with weights, of one token through encoder and decoder, without the embeddings."""
        width, other, ffn, _, layers, decoder_ffn, *_ = self.sums(genotypes)
        encoder = ENCODER_LAYERS * 4 * _QKV * width + 2 * width * ffn
        decoder = layers * (6 * _QKV * other + 2 * _QKV * width) + 2 * other * decoder_ffn
        total: Counts = encoder + decoder
        return total

    def params(self, genotypes: Genotypes) -> Counts:
        """int64[n] without the embeddings, as DyNAS-T counts them."""
        width, other, ffn, _, layers, decoder_ffn, *_ = self.sums(genotypes)
        encoder = ENCODER_LAYERS * (3 * _QKV + 6 * width) + ffn
        decoder = layers * (6 * _QKV + 9 * other) + decoder_ffn
        total: Counts = self.macs(genotypes) + encoder + decoder
        return total
