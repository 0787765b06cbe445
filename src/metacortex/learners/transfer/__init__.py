"""Baselines: what meta-learning is measured against."""
