"""``caffe2.python.workspace``: blobs, and running operators, nets and plans on them."""

from __future__ import annotations

from graphc.caffe2 import _import_c_extension as C  # noqa: F401
from graphc.caffe2.workspace import (  # noqa: F401  (they register operators)
    control,
    counters,
    datasets,
    failures,
    files,
    put_operators,
    python_functions,
    queues,
    scopes,
    step_blobs,
    tensor_vectors,
    text_files,
)
from graphc.caffe2.workspace.coercion import GetNetName as GetNetName
from graphc.caffe2.workspace.coercion import StringifyBlobName as StringifyBlobName
from graphc.caffe2.workspace.coercion import StringifyNetName as StringifyNetName
from graphc.caffe2.workspace.coercion import StringifyProto as StringifyProto
from graphc.caffe2.workspace.current import CurrentWorkspace as CurrentWorkspace
from graphc.caffe2.workspace.current import SwitchWorkspace as SwitchWorkspace
from graphc.caffe2.workspace.current import WorkspaceGuard as WorkspaceGuard
from graphc.caffe2.workspace.current import Workspaces as Workspaces
from graphc.caffe2.workspace.environment import GetBlobNUMANode as GetBlobNUMANode
from graphc.caffe2.workspace.environment import GetCUDAVersion as GetCUDAVersion
from graphc.caffe2.workspace.environment import GetCuDNNVersion as GetCuDNNVersion
from graphc.caffe2.workspace.environment import GetDeviceProperties as GetDeviceProperties
from graphc.caffe2.workspace.environment import GetGPUMemoryInfo as GetGPUMemoryInfo
from graphc.caffe2.workspace.environment import GetGpuPeerAccessPattern as GetGpuPeerAccessPattern
from graphc.caffe2.workspace.environment import GetHIPVersion as GetHIPVersion
from graphc.caffe2.workspace.environment import GetNameScope as GetNameScope
from graphc.caffe2.workspace.environment import GetNumNUMANodes as GetNumNUMANodes
from graphc.caffe2.workspace.environment import GlobalInit as GlobalInit
from graphc.caffe2.workspace.environment import GpuDeviceType as GpuDeviceType
from graphc.caffe2.workspace.environment import IsNUMAEnabled as IsNUMAEnabled
from graphc.caffe2.workspace.environment import NumCudaDevices as NumCudaDevices
from graphc.caffe2.workspace.environment import NumGpuDevices as NumGpuDevices
from graphc.caffe2.workspace.environment import RegisteredOperators as RegisteredOperators
from graphc.caffe2.workspace.environment import has_cuda_support as has_cuda_support
from graphc.caffe2.workspace.environment import has_fbgemm as has_fbgemm
from graphc.caffe2.workspace.environment import has_gpu_support as has_gpu_support
from graphc.caffe2.workspace.environment import has_hip_support as has_hip_support
from graphc.caffe2.workspace.environment import is_asan as is_asan
from graphc.caffe2.workspace.estimates import FillRandomNetworkInputs as FillRandomNetworkInputs
from graphc.caffe2.workspace.estimates import GetOperatorCost as GetOperatorCost
from graphc.caffe2.workspace.functions import BenchmarkNet as BenchmarkNet
from graphc.caffe2.workspace.functions import BenchmarkNetOnce as BenchmarkNetOnce
from graphc.caffe2.workspace.functions import Blobs as Blobs
from graphc.caffe2.workspace.functions import CallWithExceptionIntercept as CallWithExceptionIntercept
from graphc.caffe2.workspace.functions import CreateBlob as CreateBlob
from graphc.caffe2.workspace.functions import CreateNet as CreateNet
from graphc.caffe2.workspace.functions import DeleteNet as DeleteNet
from graphc.caffe2.workspace.functions import DeserializeBlob as DeserializeBlob
from graphc.caffe2.workspace.functions import FeedBlob as FeedBlob
from graphc.caffe2.workspace.functions import FeedInt8Blob as FeedInt8Blob
from graphc.caffe2.workspace.functions import FetchBlob as FetchBlob
from graphc.caffe2.workspace.functions import FetchBlobs as FetchBlobs
from graphc.caffe2.workspace.functions import FetchInt8Blob as FetchInt8Blob
from graphc.caffe2.workspace.functions import FetchInt8BlobRealVal as FetchInt8BlobRealVal
from graphc.caffe2.workspace.functions import FetchTorch as FetchTorch
from graphc.caffe2.workspace.functions import GetBlobSizeBytes as GetBlobSizeBytes
from graphc.caffe2.workspace.functions import HasBlob as HasBlob
from graphc.caffe2.workspace.functions import Nets as Nets
from graphc.caffe2.workspace.functions import Predictor as Predictor
from graphc.caffe2.workspace.functions import RemoveBlob as RemoveBlob
from graphc.caffe2.workspace.functions import ResetBlob as ResetBlob
from graphc.caffe2.workspace.functions import ResetWorkspace as ResetWorkspace
from graphc.caffe2.workspace.functions import RootFolder as RootFolder
from graphc.caffe2.workspace.functions import RunNet as RunNet
from graphc.caffe2.workspace.functions import RunNetOnce as RunNetOnce
from graphc.caffe2.workspace.functions import RunOperatorMultiple as RunOperatorMultiple
from graphc.caffe2.workspace.functions import RunOperatorOnce as RunOperatorOnce
from graphc.caffe2.workspace.functions import RunOperatorsOnce as RunOperatorsOnce
from graphc.caffe2.workspace.functions import RunPlan as RunPlan
from graphc.caffe2.workspace.functions import RunPlanInBackground as RunPlanInBackground
from graphc.caffe2.workspace.functions import SerializeBlob as SerializeBlob
from graphc.caffe2.workspace.functions import blobs as blobs
from graphc.caffe2.workspace.immediate import FeedImmediate as FeedImmediate
from graphc.caffe2.workspace.immediate import FetchImmediate as FetchImmediate
from graphc.caffe2.workspace.immediate import ImmediateBlobs as ImmediateBlobs
from graphc.caffe2.workspace.immediate import IsImmediate as IsImmediate
from graphc.caffe2.workspace.immediate import RunOperatorImmediate as RunOperatorImmediate
from graphc.caffe2.workspace.immediate import StartImmediate as StartImmediate
from graphc.caffe2.workspace.immediate import StopImmediate as StopImmediate
from graphc.caffe2.workspace.shapes import InferShapesAndTypes as InferShapesAndTypes
from graphc.caffe2.workspace.statistics import GetStats as GetStats
from graphc.caffe2.workspace.store import Workspace as Workspace
from graphc.caffe2.workspace.tracebacks import operator_tracebacks as operator_tracebacks
from graphc.caffe2.workspace.transform import ApplyTransform as ApplyTransform
from graphc.caffe2.workspace.transform import ApplyTransformIfFaster as ApplyTransformIfFaster
from graphc.operators import Int8Tensor as Int8Tensor
