"""Writers, proof and bundles: from a graph to a file that provably works (floor 2)."""
