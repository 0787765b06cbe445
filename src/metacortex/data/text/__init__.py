"""Aligned text in several languages: corpora, where they come from, and the subwords they are written in."""
