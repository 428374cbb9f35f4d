"""Models: those of Caffe2's zoo, to be downloaded and checked, and architectures with seeded weights, to be built."""

from graphc.zoo.architectures import ARCHITECTURES as ARCHITECTURES
from graphc.zoo.architectures import ZOO_NAMES as ZOO_NAMES
from graphc.zoo.architectures import architecture as architecture
from graphc.zoo.download import download_model as download_model
from graphc.zoo.download import is_valid_name as is_valid_name
from graphc.zoo.download import mirrors as mirrors
from graphc.zoo.fetch import fetch as fetch
from graphc.zoo.folders import install_folder as install_folder
from graphc.zoo.folders import make_importable as make_importable
from graphc.zoo.identities import Identity as Identity
from graphc.zoo.identities import identify as identify
from graphc.zoo.identities import identities as identities
from graphc.zoo.netdef import write_model as write_model
from graphc.zoo.netdef import write_nets as write_nets
