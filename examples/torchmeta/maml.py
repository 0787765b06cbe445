"""MAML on mini-ImageNet by the names of torchmeta.

    python examples/torchmeta/maml.py

The pictures are looked for in the folder "data" (laid out as torchmeta's, as the usual zips, pickles or class folders),
then where metacortex keeps them: metacortex data add mini_imagenet --from FOLDER. The data set brings no splitter, so
its tasks are split 1-shot with 15 test examples per class, and an epoch has 800 of them.
"""

import random

import torch
from torch import nn

from torchmeta.algos import MAML
from torchmeta.datasets import MiniImagenet
from torchmeta.modules import MetaBatchNorm2d, MetaConv2d, MetaLinear, MetaModule, MetaSequential
from torchmeta.utils.data import BatchMetaDataLoader

random.seed(0)
torch.manual_seed(0)


def block(inputs, outputs, stride=1):
    """A convolution, normed over whatever it is given."""
    return MetaSequential(
        MetaConv2d(inputs, outputs, 3, stride=stride, padding=1),
        MetaBatchNorm2d(outputs, track_running_stats=False),
    )


class MyModel(MetaModule):
    """Four blocks and a linear head, on pictures of half the size.

    The features of a picture have the length ``scale``. As the head begins with zeros, one inner step with rate α
    makes its logits α · scale² / ways times the cosines with the examples of each class: about three times. There is
    no ReLU at the end, as the cosines of numbers that are all positive hardly differ.
    """

    def __init__(self, channels=32, ways=5, scale=40.0):
        super().__init__()
        self.scale = scale
        self.features = MetaSequential(
            *(nn.AvgPool2d(2), block(3, channels, stride=2), nn.ReLU(), nn.MaxPool2d(2)),
            *(block(channels, channels), nn.ReLU(), nn.MaxPool2d(2)),
            *(block(channels, channels), nn.ReLU()),
            block(channels, channels),
        )
        self.classifier = MetaLinear(channels * 5 * 5, ways)
        # before a task is seen all classes are alike
        nn.init.zeros_(self.classifier.weight)

    def forward(self, inputs, params=None):
        """Logits [N, ways]."""
        features = self.features(inputs, params=self.get_subdict(params, "features"))
        features = self.scale * nn.functional.normalize(features.flatten(1))
        return self.classifier(features, params=self.get_subdict(params, "classifier"))


dataset = MiniImagenet("data", num_classes_per_task=5, meta_train=True)
dataloader = BatchMetaDataLoader(dataset, batch_size=4, num_workers=4)

maml = MAML(MyModel(), lr=0.01)

for epoch in range(10):
    for batch in dataloader:
        maml.train(batch)

unseen = MiniImagenet("data", num_classes_per_task=5, meta_test=True)
result = maml.test(BatchMetaDataLoader(unseen, batch_size=4, seed=0, num_tasks=600))
print(f"5-way 1-shot, {result['tasks']} tasks: {100 * result['accuracy']:.2f} ± {100 * result['ci95']:.2f} %")
