"""``caffe2.python.data_parallel_model``: models of several replicas, each of which sees a part of the batch."""

from __future__ import annotations

from graphc.caffe2.data_parallel_model.bmuf import Parallelize_BMUF as Parallelize_BMUF
from graphc.caffe2.data_parallel_model.bmuf import Parallelize_CPU_BMUF as Parallelize_CPU_BMUF
from graphc.caffe2.data_parallel_model.bmuf import Parallelize_GPU_BMUF as Parallelize_GPU_BMUF
from graphc.caffe2.data_parallel_model.helpers import AddBlobSync as AddBlobSync
from graphc.caffe2.data_parallel_model.helpers import AddDistributedBlobSync as AddDistributedBlobSync
from graphc.caffe2.data_parallel_model.helpers import ConvertNetForDevice as ConvertNetForDevice
from graphc.caffe2.data_parallel_model.helpers import CreateNet as CreateNet
from graphc.caffe2.data_parallel_model.helpers import ExtractPredictorNet as ExtractPredictorNet
from graphc.caffe2.data_parallel_model.helpers import FinalizeAfterCheckpoint as FinalizeAfterCheckpoint
from graphc.caffe2.data_parallel_model.helpers import GetCheckpointParams as GetCheckpointParams
from graphc.caffe2.data_parallel_model.helpers import GetLearningRateBlobNames as GetLearningRateBlobNames
from graphc.caffe2.data_parallel_model.helpers import OptimizeGradientMemory as OptimizeGradientMemory
from graphc.caffe2.data_parallel_model.helpers import RunInitNet as RunInitNet
from graphc.caffe2.data_parallel_model.helpers import RunNet as RunNet
from graphc.caffe2.data_parallel_model.helpers import RunWarmup as RunWarmup
from graphc.caffe2.data_parallel_model.helpers import Synchronize as Synchronize
from graphc.caffe2.data_parallel_model.parallelize import Parallelize as Parallelize
from graphc.caffe2.data_parallel_model.parallelize import Parallelize_CPU as Parallelize_CPU
from graphc.caffe2.data_parallel_model.parallelize import Parallelize_GPU as Parallelize_GPU
from graphc.caffe2.data_parallel_model.parallelize import Parallelize_iDeep as Parallelize_iDeep
from graphc.caffe2.data_parallel_model.replicas import stripBlobName as stripBlobName
