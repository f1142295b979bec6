"""Problems, the shared archive, fronts and strategies (floor 5)."""
