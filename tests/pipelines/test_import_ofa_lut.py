import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from fleetfront.errors import InputError
from fleetfront.pipelines.importing.importers import import_ofa_lut
from fleetfront.profilers.records import Role
from fleetfront.profilers.store.store import Store
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_w10, ofa_mbv3_w12
from fleetfront.targets import Target

NOTE10 = Target("note10", "tflite", "unknown")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store.sqlite") as opened:
        yield opened


@pytest.fixture
def lookup(shared_data: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "lut"
    shutil.copytree(shared_data / "ofa_mbv3/note10_lut_w12", folder)
    for path in folder.iterdir():
        path.chmod(0o644)
    return folder


def edit(folder: Path, name: str, change: dict[str, object] | None) -> Path:
    path = folder / "224_lookup_table.yaml"
    values = yaml.safe_load(path.read_text())
    if change is None:
        del values[name]
    else:
        values[name] = {**values.get(name, {}), **change}
    path.write_text(yaml.safe_dump(values))
    return path


def test_every_block_of_the_space_is_covered_as_printed(shared_data: Path, store: Store) -> None:
    report = import_ofa_lut(shared_data / "ofa_mbv3/note10_lut_w12", "note10", store)
    assert (report.targets, report.items, report.new) == ((NOTE10,), 5 * 93, 5 * 93)
    rows = list(store.measurements(target=NOTE10, role=Role.BLOCK))
    assert {row.key for row in rows} == {block.key for block in ofa_mbv3_w12().vocabulary}
    # As in 224_lookup_table.yaml: ...input:7x7x192...expand:768-kernel:7: count 107, mean 1.5251775700934578.
    (row,) = (
        r for r in rows if r.key.startswith("mbconv(act=hard_swish,e=4,k=7,out=192,s=1,se=1)@192x7x7") and r.round == 1
    )
    name, count, mean, std = row.after["as_printed"][0]
    assert (count, mean, std) == (107, 1.5251775700934578, 0.04038409353839684)
    assert name.startswith("expanded_conv-input:7x7x192")
    assert row.samples == (1525178,)
    assert row.flags == ("imported", "summary")
    assert store.sources(NOTE10)[0].licence == "MIT"


def test_the_last_layers_are_one_block(shared_data: Path, store: Store) -> None:
    import_ofa_lut(shared_data / "ofa_mbv3/note10_lut_w12", "note10", store)
    heads = [row for row in store.measurements(target=NOTE10) if len(row.after["as_printed"]) == 4]
    row = next(row for row in heads if row.after["resolution"] == 224)
    assert row.samples[0] == round((0.015270707070707077 + 0.694356 + 0.762458 + 0.669412) * 1e6)
    assert {entry[0].split("-")[0] for entry in row.after["as_printed"]} == {"AvgPool2D", "Conv_1", "Conv_2", "Logits"}


def test_importing_again_adds_nothing(lookup: Path, store: Store) -> None:
    import_ofa_lut(lookup, "note10", store)
    report = import_ofa_lut(lookup, "note10", store)
    assert (report.new, report.known) == (0, 465)


@pytest.mark.parametrize(
    "change", [{"mean": 0}, {"mean": -1.0}, {"mean": float("nan")}, {"mean": "x"}, {"mean": 1e300}, {"count": -2}]
)
def test_bad_numbers_are_refused_with_file_and_line(lookup: Path, store: Store, change: dict[str, object]) -> None:
    edit(lookup, "Logits-input:1x1x1536-output:1000", change)
    with pytest.raises(InputError, match=r"line \d+, 224_lookup_table\.yaml: Logits"):
        import_ofa_lut(lookup, "note10", store)
    assert store.holdings() == []


def test_foreign_and_missing_entries(lookup: Path, store: Store) -> None:
    edit(
        lookup,
        "expanded_conv-input:7x7x192-output:7x7x192-expand:999-kernel:7-stride:1-idskip:1-se:1-hs:1",
        {"mean": 1},
    )
    edit(lookup, "Conv_2-input:1x1x1152-output:1x1x1536", None)
    with pytest.raises(InputError, match=r"lack Conv_2.*expand:999.* is not a block of this space"):
        import_ofa_lut(lookup, "note10", store)
    report = import_ofa_lut(lookup, "note10", store, skip_invalid=True)
    assert (report.items, len(report.problems)) == (464, 2)


def test_another_width_and_other_folders_are_refused(lookup: Path, store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a block of this space"):
        import_ofa_lut(lookup, "note10", store, space=ofa_mbv3_w10())
    with pytest.raises(InputError, match="is not a folder"):
        import_ofa_lut(lookup / "224_lookup_table.yaml", "note10", store)
    with pytest.raises(InputError, match="holds no <resolution>_lookup_table"):
        import_ofa_lut(tmp_path, "note10", store)
    (lookup / "224_lookup_table.yaml").write_text("- a list")
    with pytest.raises(InputError, match="holds no entries"):
        import_ofa_lut(lookup, "note10", store)
    (lookup / "224_lookup_table.yaml").write_text("a: &a [1]\nb: *a\n")
    with pytest.raises(InputError, match="anchors"):
        import_ofa_lut(lookup, "note10", store)
