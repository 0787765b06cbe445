"""A page in the browser on which a machine learns from one drawing; `metacortex play` opens it."""
