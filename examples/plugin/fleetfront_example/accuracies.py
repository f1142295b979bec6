"""Print made-up accuracies of every network of ``tiny-chains``, to try a search with:
``python -m fleetfront_example.accuracies > accuracy.csv``.
"""

import itertools
import sys

import numpy as np

from fleetfront_example.space import TinyChains


def main() -> None:
    """A table ``arch,accuracy``: five points more for ten times the operations, which no real network promises."""
    space = TinyChains()
    genes = [range(len(choices)) for choices in space.choices]
    every = space.canonical(np.array(list(itertools.product(*genes)), np.int8))
    rows = np.unique(every, axis=0)
    sys.stdout.write("arch,accuracy\n")
    for arch, macs in zip(space.arch_ids(rows), space.macs(rows), strict=True):
        sys.stdout.write(f"{arch},{40 + 5 * np.log10(macs):.3f}\n")


if __name__ == "__main__":
    main()
