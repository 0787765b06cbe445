"""Learners side by side: the same budget, the same test tasks."""
