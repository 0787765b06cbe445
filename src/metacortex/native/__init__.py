"""Kernels in C, compiled for the machine at hand when they are first needed, and done without where they cannot be."""
