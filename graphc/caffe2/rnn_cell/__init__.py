"""``caffe2.python.rnn_cell``: recurrent layers.

``output, last, cells, last_cell = rnn_cell.LSTM(model, data, lengths, (hidden, cell), dim_in, dim_out, scope="lstm")``:
data of shape (steps, batch, dim_in), one length for each of the batch or None, states of shape (1, batch, dim_out).
"""

from __future__ import annotations

from graphc.caffe2.rnn_cell.attention import AttentionCell as AttentionCell
from graphc.caffe2.rnn_cell.attention import LSTMWithAttention as LSTMWithAttention
from graphc.caffe2.rnn_cell.attention import LSTMWithAttentionCell as LSTMWithAttentionCell
from graphc.caffe2.rnn_cell.attention import MILSTMWithAttentionCell as MILSTMWithAttentionCell
from graphc.caffe2.rnn_cell.basic import BasicRNNCell as BasicRNNCell
from graphc.caffe2.rnn_cell.cell import RNNCell as RNNCell
from graphc.caffe2.rnn_cell.composed import DropoutCell as DropoutCell
from graphc.caffe2.rnn_cell.composed import MultiRNNCell as MultiRNNCell
from graphc.caffe2.rnn_cell.composed import MultiRNNCellInitializer as MultiRNNCellInitializer
from graphc.caffe2.rnn_cell.composed import UnrolledCell as UnrolledCell
from graphc.caffe2.rnn_cell.layers import _LSTM as _LSTM
from graphc.caffe2.rnn_cell.layers import LSTM as LSTM
from graphc.caffe2.rnn_cell.layers import MILSTM as MILSTM
from graphc.caffe2.rnn_cell.layers import BasicRNN as BasicRNN
from graphc.caffe2.rnn_cell.layers import GetLSTMParamNames as GetLSTMParamNames
from graphc.caffe2.rnn_cell.layers import InitFromLSTMParams as InitFromLSTMParams
from graphc.caffe2.rnn_cell.layers import LayerNormLSTM as LayerNormLSTM
from graphc.caffe2.rnn_cell.layers import LayerNormMILSTM as LayerNormMILSTM
from graphc.caffe2.rnn_cell.layers import layered_LSTM as layered_LSTM
from graphc.caffe2.rnn_cell.lstm import LayerNormLSTMCell as LayerNormLSTMCell
from graphc.caffe2.rnn_cell.lstm import LayerNormMILSTMCell as LayerNormMILSTMCell
from graphc.caffe2.rnn_cell.lstm import LSTMCell as LSTMCell
from graphc.caffe2.rnn_cell.lstm import LSTMInitializer as LSTMInitializer
from graphc.caffe2.rnn_cell.lstm import MILSTMCell as MILSTMCell
