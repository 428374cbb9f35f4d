"""Caffe2's memonger: rewrite a NetDef so that blobs share storage.

A rewritten net computes the same bits as the original, and the net given is never changed. ``docs/memory.md`` has a
table of the functions. Plans that graphc compiles need none of this, they share memory by themselves; it is for nets
that something else runs, and for scripts that call it.
"""

from graphc.caffe2.memonger.apply import apply_assignments as apply_assignments
from graphc.caffe2.memonger.apply import apply_recurrent_blob_assignments as apply_recurrent_blob_assignments
from graphc.caffe2.memonger.assignments import AssignmentAlgorithm as AssignmentAlgorithm
from graphc.caffe2.memonger.assignments import compute_assignments as compute_assignments
from graphc.caffe2.memonger.assignments import compute_blob_assignments as compute_blob_assignments
from graphc.caffe2.memonger.assignments import verify_assignments as verify_assignments
from graphc.caffe2.memonger.estimate import estimate_memory_usage as estimate_memory_usage
from graphc.caffe2.memonger.gradients import share_grad_blobs as share_grad_blobs
from graphc.caffe2.memonger.greedy import compute_assignments_greedy as compute_assignments_greedy
from graphc.caffe2.memonger.inference import optimize_inference_fast as optimize_inference_fast
from graphc.caffe2.memonger.inference import optimize_inference_for_dag as optimize_inference_for_dag
from graphc.caffe2.memonger.interference import Optimization as Optimization
from graphc.caffe2.memonger.interference import optimize_interference as optimize_interference
from graphc.caffe2.memonger.optimal import compute_assignments_dp as compute_assignments_dp
from graphc.caffe2.memonger.ordering import compute_interference_graph as compute_interference_graph
from graphc.caffe2.memonger.ordering import topological_sort_traversal as topological_sort_traversal
from graphc.caffe2.memonger.ordering import (
    topological_sort_traversal_longest_path as topological_sort_traversal_longest_path,
)
from graphc.caffe2.memonger.ranges import LiveRange as LiveRange
from graphc.caffe2.memonger.ranges import compute_ranges as compute_ranges
from graphc.caffe2.memonger.ranges import get_memory_usage as get_memory_usage
from graphc.caffe2.memonger.ranges import get_updated_ranges as get_updated_ranges
from graphc.caffe2.memonger.ranges import is_compatible as is_compatible
from graphc.caffe2.memonger.recycling import compute_blob_recycling_for_dag as compute_blob_recycling_for_dag
from graphc.caffe2.memonger.release import release_blobs_when_used as release_blobs_when_used
from graphc.caffe2.memonger.report import MemongerError as MemongerError
from graphc.caffe2.memonger.statistics import Statistics as Statistics
from graphc.caffe2.memonger.statistics import blob_nbytes as blob_nbytes
from graphc.caffe2.memonger.statistics import collect_blob_sizes as collect_blob_sizes
from graphc.caffe2.memonger.statistics import compute_statistics as compute_statistics
from graphc.caffe2.memonger.verify import verify_graph_equality as verify_graph_equality
from graphc.caffe2.memonger.verify import verify_inplace_blobs as verify_inplace_blobs
