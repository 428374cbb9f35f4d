"""Caffe2's NetDef: recognise, read, write, check, and turn into a graph."""

from graphc.frontends.netdef.detect import Kind as Kind
from graphc.frontends.netdef.detect import detect as detect
from graphc.frontends.netdef.fills import weights as weights
from graphc.frontends.netdef.gradients import add_gradient_operators as add_gradient_operators
from graphc.frontends.netdef.importer import import_net as import_net
from graphc.frontends.netdef.net import Device as Device
from graphc.frontends.netdef.net import Net as Net
from graphc.frontends.netdef.net import Operator as Operator
from graphc.frontends.netdef.problem import Problem as Problem
from graphc.frontends.netdef.reader import Source as Source
from graphc.frontends.netdef.reader import parse_netdef as parse_netdef
from graphc.frontends.netdef.reader import parse_text as parse_text
from graphc.frontends.netdef.reader import read_net as read_net
from graphc.frontends.netdef.schema import message_class as message_class
from graphc.frontends.netdef.validate import Report as Report
from graphc.frontends.netdef.validate import check as check
from graphc.frontends.netdef.writer import to_text as to_text
from graphc.frontends.netdef.writer import write_net as write_net
