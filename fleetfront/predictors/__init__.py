"""Models of cost and accuracy, and the errors they make (floor 4)."""
