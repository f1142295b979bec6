"""Supernets hold the weights of a whole space: read, cut, recalibrate, train and fetch them."""
