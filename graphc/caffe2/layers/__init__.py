"""``caffe2.python.layers``: layers of models (``layer_model_helper``), each under its name."""

from __future__ import annotations

from graphc.caffe2.layers.adaptive_weight import AdaptiveWeight
from graphc.caffe2.layers.add_bias import AddBias
from graphc.caffe2.layers.arc_cosine_feature_map import ArcCosineFeatureMap
from graphc.caffe2.layers.batch_huber_loss import BatchHuberLoss
from graphc.caffe2.layers.batch_lr_loss import BatchLRLoss
from graphc.caffe2.layers.batch_mse_loss import BatchMSELoss
from graphc.caffe2.layers.batch_normalization import BatchNormalization
from graphc.caffe2.layers.batch_sigmoid_cross_entropy_loss import BatchSigmoidCrossEntropyLoss
from graphc.caffe2.layers.batch_softmax_loss import BatchSoftmaxLoss
from graphc.caffe2.layers.blob_weighted_sum import BlobWeightedSum
from graphc.caffe2.layers.bpr_loss import BPRLoss
from graphc.caffe2.layers.bucket_weighted import BucketWeighted
from graphc.caffe2.layers.build_index import MapToRange
from graphc.caffe2.layers.concat import Concat
from graphc.caffe2.layers.constant_weight import ConstantWeight
from graphc.caffe2.layers.conv import Conv
from graphc.caffe2.layers.dropout import Dropout
from graphc.caffe2.layers.fc import FC
from graphc.caffe2.layers.fc_with_bootstrap import FCWithBootstrap
from graphc.caffe2.layers.fc_without_bias import FCWithoutBias
from graphc.caffe2.layers.feature_sparse_to_dense import FeatureSparseToDense
from graphc.caffe2.layers.functional import Functional
from graphc.caffe2.layers.gather_record import GatherRecord
from graphc.caffe2.layers.homotopy_weight import HomotopyWeight
from graphc.caffe2.layers.label_smooth import LabelSmooth
from graphc.caffe2.layers.last_n_window_collector import LastNWindowCollector
from graphc.caffe2.layers.layer_normalization import LayerNormalization
from graphc.caffe2.layers.layers import register_layer
from graphc.caffe2.layers.margin_rank_loss import MarginRankLoss
from graphc.caffe2.layers.merge_id_lists import MergeIdLists
from graphc.caffe2.layers.pairwise_similarity import PairwiseSimilarity
from graphc.caffe2.layers.position_weighted import PositionWeighted
from graphc.caffe2.layers.random_fourier_features import RandomFourierFeatures
from graphc.caffe2.layers.reservoir_sampling import ReservoirSampling
from graphc.caffe2.layers.sampling_train import SamplingTrain
from graphc.caffe2.layers.select_record_by_context import SelectRecordByContext
from graphc.caffe2.layers.semi_random_features import SemiRandomFeatures
from graphc.caffe2.layers.sparse_dropout_with_replacement import SparseDropoutWithReplacement
from graphc.caffe2.layers.sparse_feature_hash import SparseFeatureHash
from graphc.caffe2.layers.sparse_lookup import SparseLookup
from graphc.caffe2.layers.split import Split
from graphc.caffe2.layers.uniform_sampling import UniformSampling

for _layer in (
    AdaptiveWeight,
    AddBias,
    ArcCosineFeatureMap,
    BatchHuberLoss,
    BatchLRLoss,
    BatchMSELoss,
    BatchNormalization,
    BatchSigmoidCrossEntropyLoss,
    BatchSoftmaxLoss,
    BlobWeightedSum,
    BPRLoss,
    BucketWeighted,
    Concat,
    ConstantWeight,
    Conv,
    Dropout,
    FC,
    FCWithBootstrap,
    FCWithoutBias,
    FeatureSparseToDense,
    Functional,
    GatherRecord,
    HomotopyWeight,
    LabelSmooth,
    LastNWindowCollector,
    LayerNormalization,
    MapToRange,
    MarginRankLoss,
    MergeIdLists,
    PairwiseSimilarity,
    PositionWeighted,
    RandomFourierFeatures,
    ReservoirSampling,
    SamplingTrain,
    SelectRecordByContext,
    SemiRandomFeatures,
    SparseDropoutWithReplacement,
    SparseFeatureHash,
    SparseLookup,
    Split,
    UniformSampling,
):
    register_layer(_layer.__name__, _layer)
