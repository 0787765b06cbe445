"""From a code to the weights of another network: three ways, all starting from no change at all.

    full       W = W_0 + unflatten(G c)
    low_rank   W = (1 + s(c)) ⊙ W_0 + A(c) B(c)ᵀ       s one factor for each row, A and B of rank r
    scaling    W = (1 + s(c)) ⊙ W_0

and vectors (biases) b = b_0 + G_b c. W_0 and b_0 are the network's own weights, which all tasks share. G,
s and A are linear in the code and start at zero, so that the generated network is at first the shared one;
B starts at random, as A and B both at zero would never move. A row of an LSTM's matrix belongs to one gate
of one unit; a convolution's weights count as a matrix with a row for each filter.

Adam moves every number of G by its rate, so a generated weight would move by Σ|c_i| times as much as one of the
network's own, and a bias, or the common part of all codes, would run away (seen: eight times the pace for biases).
*Balanced*, what is written is multiplied by constants that make the paces equal for codes of |c_i| ≈ ½:

    added 2/n        scale 2/n · √(3D)        A 2/n · √(D/r)        n numbers of a code, D of a row
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod, sqrt
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from metacortex.errors import SettingsError

__all__ = ["GENERATIONS", "Generation", "WeightGenerator"]

Generation = Literal["full", "low_rank", "scaling"]
GENERATIONS: tuple[str, ...] = get_args(Generation)


class WeightGenerator(nn.Module):
    """Writes the weights of a network, or of a part of it, from one code.

    Args:
        shapes: name -> shape of the weights that are written.
        code: length of the code.
        generate: see `Generation` and the module's first lines.
        rank: r of ``low_rank``, at least 1.
        balanced: see the module's first lines.

    Raises:
        SettingsError: for an unknown way or a rank below 1.

    Example:
        >>> generator = WeightGenerator({"weight": (3, 2), "bias": (3,)}, code=4)
        >>> shared = {"weight": torch.ones(3, 2), "bias": torch.zeros(3)}
        >>> bool((generator(shared, torch.ones(4))["weight"] == 1).all())
        True

    *Differentiability*: in code, shared weights and own parameters, to any order.

    Reference: Ha, Dai and Le, "HyperNetworks", 2017, section 3 (row scaling: equation 10).
    """

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        code: int,
        generate: str = "low_rank",
        rank: int = 8,
        *,
        balanced: bool = False,
    ) -> None:
        super().__init__()
        if generate not in GENERATIONS:
            raise SettingsError(f"generate must be one of {', '.join(GENERATIONS)}, got '{generate}'")
        if rank < 1:
            raise SettingsError(f"rank must be at least 1, got {rank}")
        self.shapes, self.generate, self.rank, self.balanced = dict(shapes), generate, rank, balanced
        self.parts = [(name, part, size) for name in shapes for part, size in self._parts(shapes[name])]
        self.factors = [self._factor(part, shapes[name], code) for name, part, _ in self.parts]
        # One linear layer writes everything, as many small ones would cost more time than arithmetic.
        self.linear = nn.Linear(code, sum(prod(size) for _, _, size in self.parts))
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        with torch.no_grad():
            begin = 0
            for _, part, size in self.parts:
                rows = slice(begin, begin + prod(size))
                begin = rows.stop
                if part == "right":
                    # B starts with rows of length about one, half of it from the code.
                    self.linear.bias[rows].normal_(std=(2 * size[0]) ** -0.5)
                    self.linear.weight[rows].normal_(std=(2 * size[0] * code) ** -0.5)

    def _parts(self, shape: tuple[int, ...]) -> list[tuple[str, tuple[int, ...]]]:
        if len(shape) < 2 or self.generate == "full":
            return [("added", shape)]
        scaled: list[tuple[str, tuple[int, ...]]] = [("scale", (shape[0], *[1] * (len(shape) - 1)))]
        if self.generate == "scaling":
            return scaled
        return [*scaled, ("left", (shape[0], self.rank)), ("right", (prod(shape[1:]), self.rank))]

    def _factor(self, part: str, shape: tuple[int, ...], code: int) -> float:
        row = prod(shape[1:])
        sizes = {"added": 1.0, "scale": sqrt(3 * row), "left": sqrt(row / self.rank)}
        return 2 / code * sizes[part] if part in sizes else 1.0

    def written(self, code: Tensor) -> dict[str, dict[str, Tensor]]:
        """The parts of each weight before they meet the shared ones, by names of weight and part."""
        found: dict[str, dict[str, Tensor]] = {name: {} for name in self.shapes}
        sizes = [prod(size) for _, _, size in self.parts]
        values = self.linear(code)
        if self.balanced:  # all at once: one by one, multiplying took longer than writing
            factors = zip(sizes, self.factors, strict=True)
            values = values * torch.cat([values.new_full((count,), factor) for count, factor in factors])
        for (name, part, size), own in zip(self.parts, values.split(sizes), strict=True):
            found[name][part] = own.view(size)
        return found

    def forward(self, shared: Mapping[str, Tensor], code: Tensor) -> dict[str, Tensor]:
        """Write weights.

        Args:
            shared: W_0 and b_0 by name.
            code: ``[code]``.

        Returns:
            The weights by name.
        """
        return {name: _applied(shared[name], parts) for name, parts in self.written(code).items()}

    def change(self, shared: Mapping[str, Tensor], code: Tensor) -> dict[str, Tensor]:
        """Relative size of the change to each weight, a scalar by name: what depends on the code, and how much."""
        written = self(shared, code)
        tiny = torch.finfo(code.dtype).tiny
        return {name: (w - shared[name]).norm() / shared[name].norm().clamp_min(tiny) for name, w in written.items()}


def _applied(shared: Tensor, parts: Mapping[str, Tensor]) -> Tensor:
    if "added" in parts:
        return shared + parts["added"]
    scaled = shared * (1 + parts["scale"])
    return scaled + (parts["left"] @ parts["right"].T).view(shared.shape) if "left" in parts else scaled
