"""The command `metacortex`: one file per group of verbs."""

import os

# GNU's OpenMP, which computes for PyTorch, has its threads wait busily for work that may come: for milliseconds, in
# which the threads of this library's own kernels find the processors taken. It reads this when PyTorch is loaded.
if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & set(os.environ):
    os.environ["GOMP_SPINCOUNT"] = "10000"
