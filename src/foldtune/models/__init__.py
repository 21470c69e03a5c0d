"""Ready families of nets, and what builds any net of a study file.

Every public class here can be named in a study file without a module: `model: {use: MLP, n_blocks: 2}`.
"""

from foldtune.models.conv_net import ConvNet
from foldtune.models.embeddings import ColumnEmbeddings
from foldtune.models.mlp import MLP
from foldtune.models.sequential import Sequential
from foldtune.models.tabular_resnet import TabularResNet

__all__ = ["MLP", "ColumnEmbeddings", "ConvNet", "Sequential", "TabularResNet"]
