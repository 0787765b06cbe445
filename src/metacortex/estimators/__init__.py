"""Scikit-learn's face: a classifier and a regressor that learn from a handful of examples."""
