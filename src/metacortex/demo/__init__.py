"""Four ways to read scripts never seen before, compared in three minutes."""
