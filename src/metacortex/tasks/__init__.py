"""Where tasks come from: counter-based randomness, episodes of a split, supervised batches."""
