"""The command `metacortex`: one file per group of verbs."""
