"""Programs are networks opened on a GPU, one file a runtime."""
