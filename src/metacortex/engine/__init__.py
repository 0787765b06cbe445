"""How the meta-gradient of a batch of tasks is computed."""
