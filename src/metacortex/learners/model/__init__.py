"""Learners that are networks reading the whole task."""
