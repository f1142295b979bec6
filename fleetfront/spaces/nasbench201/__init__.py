"""NAS-Bench-201 is a space of cells: six edges with one of five operations each."""
