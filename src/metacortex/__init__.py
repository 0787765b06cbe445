"""Learning to learn: from a handful of examples to a new skill."""

__version__ = "0.1.0"
