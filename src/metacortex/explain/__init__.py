"""A reason with each prediction: which examples, which pixels, what adaptation changed, how sure."""
