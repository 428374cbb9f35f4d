"""``caffe2.python.optimizer``: operators that update parameters by their gradients.

``build_sgd(model, base_learning_rate=0.1, momentum=0.9)`` after ``model.AddGradientOperators`` appends them to the
model's nets. Further arguments are those of the optimizer's class and of its learning rate policy, see the operator
LearningRate: ``policy="step", stepsize=1000, gamma=0.9``.
"""

from __future__ import annotations

from graphc.caffe2.optimizer.adagrad import AdagradOptimizer as AdagradOptimizer
from graphc.caffe2.optimizer.adam import AdamOptimizer as AdamOptimizer
from graphc.caffe2.optimizer.adam import DecayAdagradOptimizer as DecayAdagradOptimizer
from graphc.caffe2.optimizer.adaptive import AdadeltaOptimizer as AdadeltaOptimizer
from graphc.caffe2.optimizer.adaptive import RmsPropOptimizer as RmsPropOptimizer
from graphc.caffe2.optimizer.adaptive import StormOptimizer as StormOptimizer
from graphc.caffe2.optimizer.adaptive import WngradOptimizer as WngradOptimizer
from graphc.caffe2.optimizer.adaptive import YellowFinOptimizer as YellowFinOptimizer
from graphc.caffe2.optimizer.base import AuxOptimizerParams as AuxOptimizerParams
from graphc.caffe2.optimizer.base import Optimizer as Optimizer
from graphc.caffe2.optimizer.base import _optimizer_instance_count as _optimizer_instance_count
from graphc.caffe2.optimizer.base import reset_optimizer_instance_count as reset_optimizer_instance_count
from graphc.caffe2.optimizer.build import _build as _build
from graphc.caffe2.optimizer.build import _get_param_to_device as _get_param_to_device
from graphc.caffe2.optimizer.build import add_weight_decay as add_weight_decay
from graphc.caffe2.optimizer.build import build_adadelta as build_adadelta
from graphc.caffe2.optimizer.build import build_adagrad as build_adagrad
from graphc.caffe2.optimizer.build import build_adam as build_adam
from graphc.caffe2.optimizer.build import build_decay_adagrad as build_decay_adagrad
from graphc.caffe2.optimizer.build import build_fp16_sgd as build_fp16_sgd
from graphc.caffe2.optimizer.build import build_ftrl as build_ftrl
from graphc.caffe2.optimizer.build import build_gftrl as build_gftrl
from graphc.caffe2.optimizer.build import build_multi_precision_sgd as build_multi_precision_sgd
from graphc.caffe2.optimizer.build import build_rms_prop as build_rms_prop
from graphc.caffe2.optimizer.build import build_sgd as build_sgd
from graphc.caffe2.optimizer.build import build_storm as build_storm
from graphc.caffe2.optimizer.build import build_wngrad as build_wngrad
from graphc.caffe2.optimizer.build import build_yellowfin as build_yellowfin
from graphc.caffe2.optimizer.build import get_lr_injection as get_lr_injection
from graphc.caffe2.optimizer.build import get_param_device as get_param_device
from graphc.caffe2.optimizer.build import set_lr_injection as set_lr_injection
from graphc.caffe2.optimizer.ftrl import FtrlOptimizer as FtrlOptimizer
from graphc.caffe2.optimizer.ftrl import GFtrlOptimizer as GFtrlOptimizer
from graphc.caffe2.optimizer.sgd import FP16SgdOptimizer as FP16SgdOptimizer
from graphc.caffe2.optimizer.sgd import MultiPrecisionSgdOptimizer as MultiPrecisionSgdOptimizer
from graphc.caffe2.optimizer.sgd import SgdOptimizer as SgdOptimizer
from graphc.caffe2.optimizer.sgd import WeightDecayBuilder as WeightDecayBuilder
