"""Results as pages: one file that holds everything, readable without a network."""
