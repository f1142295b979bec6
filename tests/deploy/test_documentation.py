"""The documented schema of a manifest is the written one."""

import json
import re
from pathlib import Path

from fleetfront.deploy.bundle.manifest import SCHEMA
from fleetfront.deploy.formats import parse_formats
from fleetfront.pipelines.deploy.deploy import Pick, Weights, deploy_picks
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini
from fleetfront.spaces.supernet.subnets import smallest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "deploying.md"


def test_every_key_of_a_manifest_is_documented(tmp_path: Path) -> None:
    space = ofa_mbv3_mini()
    pick = Pick("net", space.arch_id(smallest(space)))
    (one,) = deploy_picks([pick], space, Weights(), parse_formats("onnx"), tmp_path)
    assert one.folder is not None
    manifest = json.loads((one.folder / "manifest.json").read_text())
    named = set(re.findall(r"`([a-z0-9_]+)(?:\[\])?`", PAGE.read_text()))
    keys = set(manifest) - {"schema"} | set(manifest["files"][0]) | set(manifest["files"][0]["checks"])
    keys |= set(manifest["files"][0]["layout"]) | set(manifest["files"][0]["contract"])
    assert keys <= named, keys - named
    assert SCHEMA in PAGE.read_text()
