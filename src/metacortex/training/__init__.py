"""Meta-training: the loop, its optimiser and schedule, progress and curves."""
