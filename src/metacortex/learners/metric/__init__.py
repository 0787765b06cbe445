"""Learners that compare queries with embedded support examples."""
