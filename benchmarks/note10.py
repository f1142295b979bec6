"""The public Samsung Note 10 lookup tables as a cost model of ofa-mbv3-w1.2, for the programs in this folder."""

import os
from pathlib import Path

import numpy as np

from fleetfront.pipelines.importing.lookup_yaml import read_lookup_folder
from fleetfront.quantities import LATENCY, Estimate, Tier
from fleetfront.spaces.catalogue import load_space


def default_data() -> Path:
    """Where the public measurements lie: ``$FLEETFRONT_TEST_DATA``, else ``../shared/data`` beside the checkout."""
    configured = os.environ.get("FLEETFRONT_TEST_DATA")
    return Path(configured) if configured else Path(__file__).resolve().parents[2] / "shared" / "data"


class Note10Latency:
    """Latency in ms: the sum of the block means in the table of the architecture's resolution. A CostModel.

    Resolutions share blocks whose maps round to equal sizes, but each table measured them anew; published results use
    each resolution's own table, so these do too.
    """

    metric = LATENCY
    tier = Tier.MEASURED

    def __init__(self, data: Path) -> None:
        self.space = load_space("ofa-mbv3-w1.2")
        found = read_lookup_folder(data / "ofa_mbv3" / "note10_lut_w12", self.space)
        if found.problems:
            raise SystemExit(f"{len(found.problems)} wrong entries, the first: {found.problems[0].text}")
        position = {block.key: i for i, block in enumerate(self.space.vocabulary)}
        values = np.zeros((len(self.space.resolutions), len(position)))
        for entry in found.entries:
            values[self.space.resolutions.index(entry.resolution), position[entry.key]] = entry.mean_ms
        self._sums = [self.space.additive(row) for row in values]

    def predict(self, genotypes):
        mean = np.empty(len(genotypes))
        for resolution, total in enumerate(self._sums):
            rows = genotypes[:, -1] == resolution
            mean[rows] = total(genotypes[rows])
        return Estimate(mean, np.zeros(len(mean)), self.tier)
