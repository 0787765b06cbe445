"""Accuracy with intervals, on fixed tasks."""
