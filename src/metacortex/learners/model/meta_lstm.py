"""MetaLSTM: an LSTM reads what is known of a task and writes the weights of the LSTM that solves it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from metacortex.errors import SettingsError
from metacortex.learners.base import State
from metacortex.learners.model.generation import GENERATIONS, Generation, WeightGenerator
from metacortex.learners.model.task_reader import SIDES, Pooling, Reads, TaskReader
from metacortex.learners.translation import Translating, TranslationSettings
from metacortex.nn.seq2seq import Seq2Seq
from metacortex.task import Examples

__all__ = ["Layers", "MetaLSTM", "MetaLSTMSettings", "side_weights"]

Layers = Literal["recurrent", "all", "encoder", "decoder"]
"""What is written: both LSTMs (``recurrent``), everything but the embedding (``all``), or all of one side."""

_SIDE = {"encoder": "encoder", "bridge": "encoder"}


@dataclass(frozen=True)
class MetaLSTMSettings(TranslationSettings):
    """Settings of `MetaLSTM`.

    Attributes:
        generate: how weights are written, see `metacortex.learners.model.generation`.
        rank: rank of the additions of ``low_rank``.
        layers: which weights are written, see `Layers`.
        code: units of the LSTM that reads the task, and length of its codes.
        reads: the description, the support pairs, or both.
        pooling: what of the description's LSTM is used for which side, see
            `metacortex.learners.model.task_reader.Pooling`.
        word_dropout: share of the description's words that are unreadable while training, 0–1 with 1
            excluded; against learning wordings by heart.
        apart: read for each side without the name of the other side's language, so that languages can be put
            together anew; for the poolings ``attended`` and ``words``.
        pace: outer learning rate of what reads and writes, as a share of that of the shared network, positive.
            The shared network alone bears higher ones.
    """

    generate: Generation = "low_rank"
    rank: int = 8
    layers: Layers = "decoder"
    code: int = 64
    reads: Reads = "both"
    pooling: Pooling = "words"
    word_dropout: float = 0.1
    apart: bool = True
    pace: float = 0.125

    def __post_init__(self) -> None:
        for name, known in (
            ("generate", GENERATIONS),
            ("layers", get_args(Layers)),
            ("reads", get_args(Reads)),
            ("pooling", get_args(Pooling)),
        ):
            if getattr(self, name) not in known:
                raise SettingsError(f"{name} must be one of {', '.join(known)}, got '{getattr(self, name)}'")
        if min(self.rank, self.code) < 1:
            raise SettingsError(f"rank and code must be at least 1, got {self.rank} and {self.code}")
        if not 0 <= self.word_dropout < 1:
            raise SettingsError(f"word_dropout must lie in 0..1, 1 excluded, got {self.word_dropout}")
        if not self.pace > 0:
            raise SettingsError(f"pace must be positive, got {self.pace}")


class MetaLSTM(Translating):
    """f_φ(T) = the weights of an attention LSTM encoder–decoder, written by an LSTM that has read T.

        L(φ) = Σ_i L_i( f_φ(T_i) )

    φ are the shared weights of the encoder–decoder, of the reader and of the generator. The generated
    network has the size of the shared one and needs nothing else: it can be kept and run alone.

    Args:
        body: the encoder–decoder, without tags.
        generate: see `MetaLSTMSettings`, as the rest.
        rank: of the additions.
        layers: which weights are written.
        code: size of the reader.
        reads: description, support pairs or both.
        pooling: what is used for each side.
        word_dropout: of the description.
        apart: without the name of the other side.
        pace: of learning to read and write.
        smoothing: label smoothing.

    Reference: Ha, Dai and Le, "HyperNetworks", 2017; weights of a translation network from a context:
    Platanios et al., "Contextual Parameter Generation", 2018.
    """

    name: ClassVar[str] = "meta_lstm"
    default_lr: ClassVar[float] = 1.6e-2

    def __init__(
        self,
        body: Seq2Seq,
        generate: Generation = "low_rank",
        rank: int = 8,
        layers: Layers = "decoder",
        code: int = 64,
        reads: Reads = "both",
        pooling: Pooling = "words",
        word_dropout: float = 0.1,
        apart: bool = True,
        pace: float = 0.125,
        smoothing: float = 0.1,
    ) -> None:
        super().__init__(body, smoothing)
        MetaLSTMSettings(smoothing, generate, rank, layers, code, reads, pooling, word_dropout, apart, pace)
        self.lr_shares = dict.fromkeys(("reader", "generators"), pace)
        self.reader = TaskReader(body.settings.vocabulary, code, reads, pooling, word_dropout, apart)
        written = side_weights(self.body, layers)
        self.generators = nn.ModuleDict(
            {
                side: WeightGenerator(
                    {n: tuple(p.shape) for n, p in weights.items()}, code, generate, rank, balanced=True
                )
                for side, weights in written.items()
                if weights
            }
        )

    def codes(self, support: Examples, description: Any) -> dict[str, Tensor]:
        """What the reader says of a task, ``{"encoder": [code], "decoder": [code]}``."""
        return self.reader(support, description)

    def adapt(self, support: Examples, *, description: Any = None, generator: torch.Generator | None = None) -> State:
        """Read the task, write the weights.

        Returns:
            ``weights`` of the generated network.
        """
        return self.generated(self.codes(support, description))

    def generated(self, codes: dict[str, Tensor]) -> State:
        """The state that belongs to codes, e.g. to a mean of those of two tasks."""
        weights = dict(self.body.named_parameters())
        shared = dict(weights)
        for side, generator in self.generators.items():
            weights |= generator(shared, codes[side])
        return {"weights": weights}

    def changes(self, support: Examples, description: Any) -> dict[str, Tensor]:
        """How much the task changes each generated weight, relative to the shared one: scalars by name."""
        shared, codes = dict(self.body.named_parameters()), self.codes(support, description)
        found: dict[str, Tensor] = {}
        for side, generator in self.generators.items():
            assert isinstance(generator, WeightGenerator)
            found |= generator.change(shared, codes[side])
        return found


def side_weights(body: Seq2Seq, layers: str = "all") -> dict[str, dict[str, Tensor]]:
    """The weights to be written, of encoder and decoder: ``{"encoder": name -> weight, "decoder": …}``.

    Args:
        body: the net. Its embedding, which both sides read, what reads images, and an output matrix of its own
            are never written.
        layers: see `Layers`.
    """
    found: dict[str, dict[str, Tensor]] = {side: {} for side in SIDES}
    for name, weight in body.named_parameters():
        module = name.split(".")[0]
        side = _SIDE.get(module, "decoder")
        if module in ("embedding", "tags", "image", "output"):
            continue
        if layers == "all" or layers == side or (layers == "recurrent" and module in SIDES):
            found[side][name] = weight
    return found
