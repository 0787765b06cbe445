"""Meta-gradients of metacortex and of other libraries, side by side: first equal, then timed."""
