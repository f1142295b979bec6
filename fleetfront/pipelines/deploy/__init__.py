"""Deploying turns picks from a front into proven bundles."""
