"""``caffe2.python.examples.lmdb_create_example``: a database of random pictures and labels, written and read.

``python -m graphc.caffe2 -m caffe2.python.examples.lmdb_create_example --output_file FOLDER``. It needs lmdb;
with ``--db_type minidb`` it needs none.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np

from graphc.caffe2 import model_helper, workspace
from graphc.caffe2.database import NEW, open_database
from graphc.caffe2.proto import caffe2_pb2
from graphc.ir import GraphcError

ROWS, BATCH = 128, 32
SHAPE = (3, 64, 32)


def create_db(output_file: str, db_type: str = "lmdb") -> float:
    """Write 128 records, a picture of float32 and a label each; gives the sum of all elements times their label."""
    database = open_database(db_type, output_file, NEW)
    checksum, records = 0.0, []
    for i in range(ROWS):
        label, picture = i % 10, np.random.rand(*SHAPE)
        record = caffe2_pb2.TensorProtos()
        record.protos.add(dims=SHAPE, data_type=caffe2_pb2.TensorProto.FLOAT, float_data=picture.ravel())
        record.protos.add(data_type=caffe2_pb2.TensorProto.INT32, int32_data=[label])
        records.append((str(i).encode(), record.SerializeToString()))
        checksum += float(picture.sum()) * label
    database.write(records)
    database.close()
    print(f"Checksum/write: {int(checksum)}")
    return checksum


def read_db_with_caffe2(db_file: str, expected_checksum: float, db_type: str = "lmdb") -> None:
    """Read the records in batches of 32, by a net; raises ``AssertionError`` for another sum."""
    model = model_helper.ModelHelper(name="lmdbtest")
    model.TensorProtosDBInput([], ["data", "label"], batch_size=BATCH, db=db_file, db_type=db_type)
    workspace.RunNetOnce(model.param_init_net)
    workspace.CreateNet(model.net)
    checksum = 0.0
    for _ in range(ROWS // BATCH):
        workspace.RunNet(model.net.Proto().name)
        sums = workspace.FetchBlob("data").sum(axis=(1, 2, 3), dtype=np.float64)
        checksum += float(sums @ workspace.FetchBlob("label"))
    print(f"Checksum/read: {int(checksum)}")
    if abs(checksum - expected_checksum) > 1e-6 * expected_checksum:
        raise AssertionError(f"what is read adds up to {checksum}, what was written to {expected_checksum}")


def main(arguments: Sequence[str]) -> int:
    """Write and read; exit code 1 where the database cannot be written."""
    parser = argparse.ArgumentParser(description="Writes a database of random pictures, and reads it.")
    parser.add_argument("--output_file", required=True, help="the database")
    parser.add_argument("--db_type", default="lmdb", help="lmdb or minidb")
    given = parser.parse_args(arguments)
    try:
        checksum = create_db(given.output_file, given.db_type)
    except GraphcError as error:
        print(error, file=sys.stderr)
        return 1
    read_db_with_caffe2(given.output_file, checksum, given.db_type)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
