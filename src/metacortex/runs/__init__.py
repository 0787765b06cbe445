"""Run folders: what is kept of a run, and building a learner again from it."""
