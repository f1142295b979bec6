"""A deployed network's accuracy stands beside the promise of its front."""

from fleetfront.cli.deploy.results import told_promise
from fleetfront.pipelines.deploy.records import Pick


def test_a_measured_promise_stands_beside_what_was_measured() -> None:
    def promised(**more: object) -> str:
        row = {"value": 97.0, "std": 0.9, "tier": "measured", "source": "supernet:w", **more}
        return told_promise(Pick("one", "net", accuracy=(row,)), 96.0, 400)

    assert promised(split="test") == "; the front says 97.00 +-0.90 %"
    assert "harder or easier" in promised(split="test", value=99.9)
    assert "flatter" in promised()
    assert promised(source="csv:t") == ""
