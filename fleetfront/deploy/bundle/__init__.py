"""A bundle is a folder with one network's files, manifest, model card, labels and snippets."""
