"""``caffe2.python.core``: nets, operators, blobs, scopes, steps and plans."""

from __future__ import annotations

from graphc.caffe2 import _import_c_extension as C  # noqa: F401
from graphc.caffe2 import scope as scope
from graphc.caffe2 import utils as utils
from graphc.caffe2 import workspace as workspace
from graphc.caffe2.core.blob_reference import BlobReference as BlobReference
from graphc.caffe2.core.blob_reference import GetIndexFromGradientList as GetIndexFromGradientList
from graphc.caffe2.core.blob_reference import GradientSlice as GradientSlice
from graphc.caffe2.core.blob_reference import ScopedBlobReference as ScopedBlobReference
from graphc.caffe2.core.blob_reference import ScopedName as ScopedName
from graphc.caffe2.core.cloning import clone_and_bind_net as clone_and_bind_net
from graphc.caffe2.core.copies import InjectCrossDeviceCopies as InjectCrossDeviceCopies
from graphc.caffe2.core.copies import InjectDeviceCopiesAmongNets as InjectDeviceCopiesAmongNets
from graphc.caffe2.core.copies import InjectDeviceCopiesAmongNetsWithoutB2D as InjectDeviceCopiesAmongNetsWithoutB2D
from graphc.caffe2.core.copies import RemapEntry as RemapEntry
from graphc.caffe2.core.copies import copy_func_between_devices as copy_func_between_devices
from graphc.caffe2.core.data_type import DataType as DataType
from graphc.caffe2.core.device import DeviceOption as DeviceOption
from graphc.caffe2.core.device import InferBlobDevices as InferBlobDevices
from graphc.caffe2.core.device import InferOpBlobDevices as InferOpBlobDevices
from graphc.caffe2.core.device import InferOpBlobDevicesAsDict as InferOpBlobDevicesAsDict
from graphc.caffe2.core.device import InferOpDeviceAsBlobDevices as InferOpDeviceAsBlobDevices
from graphc.caffe2.core.device import device_equal as device_equal
from graphc.caffe2.core.device import device_option_equal as device_option_equal
from graphc.caffe2.core.execution import ExecutionStep as ExecutionStep
from graphc.caffe2.core.execution import Plan as Plan
from graphc.caffe2.core.execution import execution_step as execution_step
from graphc.caffe2.core.execution import get_net_name as get_net_name
from graphc.caffe2.core.execution import output_to_list as output_to_list
from graphc.caffe2.core.execution import scoped_execution_step as scoped_execution_step
from graphc.caffe2.core.execution import to_execution_step as to_execution_step
from graphc.caffe2.core.gradients import GradientRegistry as GradientRegistry
from graphc.caffe2.core.net import Net as Net
from graphc.caffe2.core.operator import CreateOperator as CreateOperator
from graphc.caffe2.core.operator import IsOperator as IsOperator
from graphc.caffe2.core.operator import IsOperatorWithEngine as IsOperatorWithEngine
from graphc.caffe2.core.operator import RefreshRegisteredOperators as RefreshRegisteredOperators
from graphc.caffe2.core.python_operator import CreatePythonOperator as CreatePythonOperator
from graphc.caffe2.core.remap import DEFAULT_REMAP_FUNCS as DEFAULT_REMAP_FUNCS
from graphc.caffe2.core.remap import control_op_remap as control_op_remap
from graphc.caffe2.core.remap import recurrent_network_op_remap as recurrent_network_op_remap
from graphc.caffe2.core.remap import remap_input as remap_input
from graphc.caffe2.core.remap import remap_output as remap_output
from graphc.caffe2.core.remap import remap_proto as remap_proto
from graphc.caffe2.core.ssa import get_op_ids_in_path as get_op_ids_in_path
from graphc.caffe2.core.ssa import get_output_producers as get_output_producers
from graphc.caffe2.core.ssa import get_ssa as get_ssa
from graphc.caffe2.core.ssa import get_undefined_blobs as get_undefined_blobs
from graphc.caffe2.scope import DeviceScope as DeviceScope
from graphc.caffe2.scope import EmptyDeviceScope as EmptyDeviceScope
from graphc.caffe2.scope import EmptyNameScope as EmptyNameScope
from graphc.caffe2.scope import NameScope as NameScope
from graphc.caffe2.workspace.environment import GetGlobalInitArgs as GetGlobalInitArgs
from graphc.caffe2.workspace.environment import GlobalInit as GlobalInit
