"""Reading turns raw samples into numbers: which visits count, what they say, whether to trust them."""
