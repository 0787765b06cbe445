"""One file per published result: paper, settings, and the figure to reach."""
