"""``caffe2.python.control_ops_grad``: gradients of If, While and Do."""

from __future__ import annotations

from graphc.caffe2.core.do_gradient import dedupe_g_output as dedupe_g_output
from graphc.caffe2.core.do_gradient import gen_do_gradient as gen_do_gradient
from graphc.caffe2.core.if_gradient import disambiguate_grad_if_op_output as disambiguate_grad_if_op_output
from graphc.caffe2.core.if_gradient import gen_if_gradient as gen_if_gradient
from graphc.caffe2.core.nested_gradients import net_argument as getNetArgument  # noqa: F401
from graphc.caffe2.core.while_gradient import gen_while_gradient as gen_while_gradient
