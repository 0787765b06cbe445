"""What all learners of translation share: one encoder–decoder, its loss, and writing translations.

A task's examples have inputs ``{"source": [N, L], "source_length": [N]}`` (and maybe features of images,
``"image": [N, D]``) and targets ``[N, L']``, token ids ended by EOS and padded; its description is
``{"tokens": [D], "length": [], "source_language": [], "target_language": []}``, all int64 (see
`metacortex.nn.seq2seq` for the special ids), and may have more (`metacortex.tasks.descriptions`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from metacortex.errors import DataError, SettingsError
from metacortex.learners.base import Gradients, Learner, Outcome, State
from metacortex.learners.first_order import first_order_gradient
from metacortex.learners.objective import TokenCrossEntropy
from metacortex.nn.decoding import beam_search, greedy
from metacortex.nn.mode import evaluating
from metacortex.nn.norm import fused_kernels, fusing
from metacortex.nn.seq2seq import Seq2Seq, Seq2SeqShape
from metacortex.nn.token_loss import token_loss
from metacortex.task import Examples, Task
from metacortex.updates.base import UpdateRule

__all__ = ["Translating", "TranslationSettings", "Translations", "body_of"]


@dataclass(frozen=True)
class TranslationSettings:
    """What every learner of translation can be told.

    Attributes:
        smoothing: label smoothing ε of the training loss, 0–1.
    """

    smoothing: float = 0.1


@dataclass(frozen=True)
class Translations:
    """Translations of N sentences, the best first.

    Attributes:
        tokens: ``[N, best, T]`` int64, each ended by EOS unless it reached the limit, then padded.
        scores: ``[N, best]`` log-probability, divided by the length penalty where a beam was used.
        attention: ``[N, best, T, L]`` share of each source token in each written one, or ``None``.
    """

    tokens: Tensor
    scores: Tensor
    attention: Tensor | None = None


class Translating(Learner):
    """A learner whose state holds all weights of an encoder–decoder (and a language tag, if it has them).

    Subclasses write `adapt`, which returns ``{"weights": name -> tensor}`` and maybe ``"tag"``.

    Args:
        body: the net; it is copied.
        smoothing: see `TranslationSettings`.

    *Speed*: with fused kernels allowed (engine ``loop``, evaluation) the net reads whole batches in fused
    LSTMs, padding is cut off, the output layer sees real target tokens only, and the gradient is taken by
    plain automatic differentiation.
    """

    train_tasks: ClassVar[int] = 4
    default_lr: ClassVar[float] = 2e-3
    autograd_gradient = True
    objective: TokenCrossEntropy  # type: ignore[override]

    def __init__(self, body: Seq2Seq, smoothing: float = 0.1) -> None:
        super().__init__()
        self.body = copy.deepcopy(body)
        self.objective = TokenCrossEntropy(smoothing)  # type: ignore[assignment]

    # --- the protocol ---

    def predict(self, state: State, inputs: Mapping[str, Tensor]) -> Tensor:
        """Translate, or score given translations.

        Args:
            state: what `adapt` returned.
            inputs: ``source``, ``source_length`` and, to be scored, ``target`` ``[N, L']``.

        Returns:
            With targets the logits ``[N, L', V]`` of each token given those before it, differentiable;
            without, the tokens ``[N, T]`` of greedy translations.
        """
        if "target" in inputs:
            tag = self._read(state, inputs)[2]
            given = dict(inputs) if tag is None else {**inputs, "tag": tag}
            return self._call(state, "teacher_forced", given)
        image = inputs.get("image")
        return self.translate(state, inputs["source"], inputs["source_length"], image=image).tokens[:, 0]

    def embed(self, state: State, inputs: Mapping[str, Tensor]) -> Tensor:
        """Mean encoder states of the sources, ``[N, 2H]``."""
        return self._call(state, "summary", *self._read(state, inputs))

    def loss(self, task: Task) -> Outcome:
        """Adapt on the support pairs and the description, score the query pairs teacher-forced.

        Returns:
            An `Outcome` whose prediction is the most likely token at each target position, ``[N, L']``.
        """
        return self.score(self.adapt(task.support, description=task.description), task.query)

    def task_gradient(self, task: Task) -> tuple[Gradients, Outcome]:
        """dL_i/dφ by automatic differentiation of `loss`."""

        def objective(phi: dict[str, Tensor]) -> tuple[Tensor, Outcome]:
            outcome = self.call(phi, "loss", task)
            return outcome.loss, outcome

        return first_order_gradient(objective, self.meta_parameters())

    def keeps(self) -> set[str]:
        """Nothing: the state holds every weight that translating needs."""
        return set()

    # --- translation ---

    def score(self, state: State, examples: Examples) -> Outcome:
        """Loss and metrics of sentence pairs, each target token given those before it."""
        pairs = _trimmed(examples) if fusing() else examples
        features, _ = self._call(state, "features", *self._pair(state, pairs))
        real, targets = self.objective.real(pairs).flatten(), pairs.targets.flatten()
        rows = real.nonzero()[:, 0] if fusing() else torch.arange(len(real), device=real.device)
        counts = real[rows].to(features.dtype)
        total = counts.sum().clamp_min(1)
        read, asked = features.flatten(0, 1)[rows], targets[rows]
        if fusing() and not torch.is_autocast_enabled(features.device.type):
            weight, bias = self.body.output_weights(state["weights"])
            loss, plain, chosen = token_loss(read, weight, bias, asked, counts / total, self.objective.smoothing)
        else:
            logits = self._call(state, "logits", read)  # [N * L', V]
            smoothed, plain = self.objective.token_losses(logits, asked)
            loss, chosen = (smoothed * counts).sum() / total, logits.detach().argmax(-1)
        metrics = {
            "nll": (plain.detach() * counts).sum() / total,
            "token_accuracy": ((chosen == asked).to(plain.dtype) * counts).sum() / total,
        }
        chosen = targets.new_zeros(len(targets)).index_put((rows,), chosen * real[rows]).view_as(pairs.targets)
        missing = examples.targets.shape[1] - chosen.shape[1]
        return Outcome(loss, F.pad(chosen, (0, missing)), {}, metrics)

    def translate(
        self,
        state: State,
        source: Tensor,
        length: Tensor,
        *,
        image: Tensor | None = None,
        beam: int = 1,
        best: int = 1,
        limit: int | None = None,
        length_penalty: float = 1.0,
        attention: bool = False,
    ) -> Translations:
        """Translate sentences freely; nothing is recorded for differentiation, nothing is dropped out.

        Args:
            state: what `adapt` returned.
            source: ``[N, L]`` int64 token ids, on any device.
            length: ``[N]`` int64 in ``0 .. L``.
            image: ``[N, D]`` features of the sentences' images, for a net that reads them.
            beam: hypotheses kept; 1 is greedy.
            best: translations of each sentence, at most ``beam``.
            limit: tokens at most; twice the padded length of the sources and ten more when not given.
            length_penalty: see `metacortex.nn.decoding.beam_search`.
            attention: whether to return where the net looked.

        Returns:
            `Translations`, on the CPU whatever the device of the state.

        Raises:
            DataError: for ids outside the vocabulary or lengths that do not fit.
            SettingsError: for a beam that cannot be.
        """
        _check(source, length, self.body.settings.vocabulary)
        where = next(iter(state["weights"].values())).device
        source, length = source.to(where), length.to(where)
        image = None if image is None else image.to(where)
        if beam < best or best < 1:
            raise SettingsError(f"best must lie in 1..beam, got best={best} and beam={beam}")
        limit = 2 * source.shape[1] + 10 if limit is None else limit
        with evaluating(self.body), torch.no_grad(), fused_kernels():
            given = {"source": source, "source_length": length}
            read = self._read(state, given if image is None else {**given, "image": image})
            memory, carry = self._call(state, "encode", *read)

            def step(tokens: Tensor, now: State) -> tuple[Tensor, State]:
                return self._call(state, "step", tokens, memory, now)

            if beam == 1:
                found = greedy(step, carry, limit)
            else:
                found = beam_search(step, carry, limit, beam=beam, best=best, length_penalty=length_penalty)
            looked = None
            if attention:
                each = [self._call(state, "features", *read[:2], t, *read[2:])[1] for t in found.tokens.unbind(1)]
                looked = torch.stack(each, 1)
        return Translations(found.tokens.cpu(), found.scores.cpu(), None if looked is None else looked.cpu())

    def tuned(self, state: State, support: Examples, rule: UpdateRule, steps: int, *, size: int = 0) -> State:
        """The state after ``steps`` updates of all weights on the support pairs.

        The gradients count as constants, so the new weights are differentiable in the old ones as the
        identity: first-order MAML, where this is part of meta-training.

        Args:
            state: what `adapt` returned.
            support: the pairs.
            rule: of the updates.
            steps: how many.
            size: pairs of an update, which go through the support by turns; 0 for all of them.
        """
        count = support.targets.shape[0]
        if not count or not steps:
            return state
        fast: dict[str, Tensor] = state["weights"]
        carry = rule.init(fast)
        for k in range(steps):
            part = _part(support, k, size) if 0 < size < count else support
            gradients, _ = first_order_gradient(
                lambda weights, part=part: (self.score({**state, "weights": weights}, part).loss, {}), fast
            )
            fast, carry = rule.update(gradients, carry, fast, k)
        return {**state, "weights": fast}

    # --- how ---

    def _call(self, state: State, method: str, *args: Any) -> Any:
        return functional_call(self.body, state["weights"], args, {"method": method})

    def _read(self, state: State, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Source, its length, tag and image, as the net takes them."""
        source, tag = inputs["source"], state.get("tag")
        tags = None if tag is None else tag.expand(source.shape[0])
        return source, inputs["source_length"], tags, inputs.get("image") if self.body.settings.image else None

    def _pair(self, state: State, examples: Examples) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
        source, length, tag, image = self._read(state, examples.inputs)
        return source, length, examples.targets, tag, image


def body_of(backbone: nn.Module, *, tagged: bool = False) -> Seq2Seq:
    """The encoder–decoder of a registered backbone.

    Raises:
        SettingsError: if the backbone is none for sentences.
    """
    if not isinstance(backbone, Seq2SeqShape):
        raise SettingsError(f"translation needs the backbone 'seq2seq', got {type(backbone).__name__}")
    return backbone.build(tagged=tagged)


def _part(examples: Examples, number: int, size: int) -> Examples:
    """As many examples, the next ones with every number and the first after the last."""
    rows = (number * size + torch.arange(size, device=examples.targets.device)) % examples.targets.shape[0]
    inputs = {name: x[rows] for name, x in examples.inputs.items()}
    mask = None if examples.mask is None else examples.mask[rows]
    return replace(examples, inputs=inputs, targets=examples.targets[rows], mask=mask)


def _trimmed(examples: Examples) -> Examples:
    """The examples without columns that are padding in every row."""
    if not examples.targets.shape[0]:
        return examples
    longest = max(1, int(examples.inputs["source_length"].max()))
    used = examples.targets.any(0).nonzero()
    last = int(used[-1]) + 1 if len(used) else 1
    inputs = {**examples.inputs, "source": examples.inputs["source"][:, :longest]}
    return replace(examples, inputs=inputs, targets=examples.targets[:, :last])


def _check(source: Tensor, length: Tensor, vocabulary: int) -> None:
    if source.dim() != 2 or length.shape != source.shape[:1]:
        raise DataError(
            f"expected sources [N, L] and lengths [N], got shapes {tuple(source.shape)} and {tuple(length.shape)}"
        )
    if source.numel() and not 0 <= int(source.min()) <= int(source.max()) < vocabulary:
        raise DataError(
            f"source tokens must lie in 0..{vocabulary - 1}, got {int(source.min())}..{int(source.max())}: "
            "were they made with the subword model of this run?"
        )
    if length.numel() and not 0 <= int(length.min()) <= int(length.max()) <= source.shape[1]:
        raise DataError(f"source lengths must lie in 0..{source.shape[1]}, got {length.tolist()[:8]}")
