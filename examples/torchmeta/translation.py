"""Meta-LSTM on Multi30k by the names of torchmeta: English captions into French.

    python examples/torchmeta/translation.py

The captions are looked for in the folder "data/multi30k", then where metacortex keeps them: metacortex data fetch
multi30k. Needs metacortex[translate]. A task is a topic of the captions, told in words and by a few example pairs: an
LSTM reads them and writes the weights of the LSTM that translates. An epoch is 600 tasks of at most 32 sentences; the
next one goes on from there, so that ten epochs see every training sentence six or seven times.
"""

import torch

from torchmeta.datasets import MultimodalNMT
from torchmeta.modules import MetaLSTM
from torchmeta.utils.data import BatchMetaDataLoader

torch.manual_seed(0)


class MyMetaLSTM(MetaLSTM):
    """Remembers how its loss went."""

    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.losses = []

    def train(self, batch=True):
        """Train on a batch; without one, PyTorch's training mode."""
        said = super().train(batch)
        if isinstance(said, dict):
            self.losses.append(said["loss"])
        return said


dataset = MultimodalNMT("data", source_language="en", target_language="fr")
dataloader = BatchMetaDataLoader(dataset, batch_size=4, num_workers=4)

metalstm = MyMetaLSTM(input_size=100, hidden_size=200)

for epoch in range(10):
    for batch in dataloader:
        metalstm.train(batch)
    print(f"epoch {epoch + 1}: loss {sum(metalstm.losses[-len(dataloader) :]) / len(dataloader):.3f}", flush=True)

unseen = MultimodalNMT("data", source_language="en", target_language="fr", meta_test=True)
result = metalstm.test(BatchMetaDataLoader(unseen, batch_size=4))
for source, translation, reference in list(zip(result["sources"], result["translations"], result["references"]))[:5]:
    print(f"{source}\n  {translation}\n  ({reference})")
print(f"BLEU {result['bleu']:.2f}, {len(result['translations'])} sentences, {result['bleu_signature']}")
