"""Records: structs and lists of blobs, by Caffe2's rules for names, merging and types."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from graphc.caffe2 import core, schema, workspace


def clicks() -> schema.Struct:
    """A record whose leaves are user, clicks:lengths, clicks:values:item, clicks:values:weight."""
    click = schema.Struct(("item", np.int64), ("weight", schema.Scalar((np.float32, 2))))
    return schema.Struct(("user", np.int32), ("clicks", schema.List(click)))


def test_leaves_have_paths_types_and_positions():
    record = clicks()
    assert record.field_names() == ["user", "clicks:lengths", "clicks:values:item", "clicks:values:weight"]
    assert record.field_types() == [np.int32, np.int32, np.int64, np.dtype((np.float32, (2,)))]
    assert record.clicks.item is record["clicks:values:item"]
    assert record.clicks.slice() == slice(1, 4)
    assert record.clicks.weight.id() == 3
    assert "clicks:values:item" in record
    assert "clicks:values:other" not in record
    with pytest.raises(KeyError, match="other"):
        record["clicks:values:other"]
    with pytest.raises(AttributeError, match="it has user, clicks"):
        _ = record.other


def test_structs_merge_and_subtract_by_name():
    a = schema.Struct(("x", np.int32), ("s:p", np.float32))
    b = schema.Struct(("s", schema.Struct(("q", np.int64))), ("y", str))
    assert (a + b).field_names() == ["x", "s:p", "s:q", "y"]
    assert (a + b - a).field_names() == ["s:q", "y"]
    assert a.field_names() == ["x", "s:p"], "sums leave their parts alone"
    with pytest.raises(TypeError, match="field x"):
        a + a
    with pytest.raises(ValueError, match="Duplicate field name: x"):
        schema.Struct(("x", np.int32), ("x", np.int32))
    with pytest.raises(TypeError):
        a.x = schema.Scalar()


def test_columns_come_back_as_lists_and_maps_in_any_order():
    record = schema.Struct(("a", schema.Map(np.int64, np.float32)), ("b", schema.List(np.int32)))
    names, types = record.field_names(), record.field_types()
    found = schema.from_column_list(names[::-1], types[::-1])
    assert isinstance(found.a, schema.List)
    assert sorted(found.field_names()) == sorted(names)
    assert found.a.keys == schema.Scalar(np.int64)
    with pytest.raises(AssertionError, match="col_types"):
        schema.from_column_list(["a"], [])


def test_records_are_fed_and_fetched():
    workspace.ResetWorkspace()
    net = core.Net("records")
    with core.NameScope("in"):
        record = schema.NewRecord(net, clicks())
    assert [str(b) for b in record.field_blobs()] == [f"in/{name}" for name in clicks().field_names()]
    weights = np.arange(6, dtype=np.float32).reshape(3, 2)
    arrays = [np.array([7, 8], np.int32), np.array([1, 2], np.int32), np.array([4, 5, 6]), weights]
    schema.FeedRecord(record, arrays)
    found = schema.FetchRecord(record)
    np.testing.assert_array_equal(found.clicks.weight(), weights)
    assert found == clicks()
    with pytest.raises(AssertionError, match="4 ndarrays"):
        schema.FeedRecord(record, arrays[:2])


def test_records_are_filled_by_nets():
    workspace.ResetWorkspace()
    net = core.Net("fills")
    empty = schema.InitEmptyRecord(net, clicks())
    constant = schema.ConstRecord(net, schema.Struct(("c", schema.Scalar(np.float32, [1.5, 2.0]))))
    workspace.RunNetOnce(net)
    found = schema.FetchRecord(empty)
    assert [(a.dtype, a.shape) for a in found.field_blobs()][2:] == [(np.int64, (0,)), (np.float32, (0, 2))]
    np.testing.assert_array_equal(workspace.FetchBlob(constant.c()), np.float32([1.5, 2.0]))


def test_nets_carry_records_to_copies_with_other_names():
    net = core.Net("carrier")
    record = net.set_input_record(schema.NewRecord(net, schema.Struct(("x", np.float32))))
    y = net.Relu(record.x(), "y")
    net.set_output_record(schema.Struct(("y", y)))
    net.AppendOutputRecordField("z", schema.Scalar(blob=net.Relu(y, "z")))
    assert net.output_record().field_names() == ["y", "z"]
    assert list(net.Proto().external_output) == ["y", "z"]
    clone = net.Clone("other", {"x": "x2", "z": "z2"})
    assert clone.input_record().field_blobs() == ["x2"]
    assert clone.output_record().field_blobs() == ["y", "z2"]
    assert net.input_record().field_blobs() == ["x"]
    with pytest.raises(AssertionError, match="w is not defined"):
        net.AppendOutputRecordField("w", schema.Scalar(blob=core.BlobReference("w")))


def test_leaves_check_what_they_hold():
    with pytest.raises(ValueError, match="ambiguous"):
        schema.Scalar(blob="name")
    with pytest.raises(AssertionError, match="integral"):
        schema.Scalar(np.float32, metadata=schema.Metadata(categorical_limit=3))
    with pytest.raises(AssertionError, match="structured"):
        schema.Scalar(np.dtype([("a", np.int32)]))
    with pytest.raises(AssertionError, match="Expected int32"):
        schema.from_blob_list(schema.Scalar(np.int32), [np.zeros(1)], throw_on_type_mismatch=True)
    assert schema.Scalar(np.int32, 5)().shape == (1,)


def test_numpy_types_become_records():
    inner = np.dtype([("p", np.int32), ("q", np.float32, (3,))])
    found = schema.from_dtype(np.dtype([("a", inner), ("b", np.int64)]))
    assert found.field_names() == ["a:p", "a:q", "b"]
    assert found.a.q.field_type() == np.dtype((np.float32, (3,)))
    assert schema.data_type_for_dtype(np.dtype("U7")) == core.DataType.STRING
    with pytest.raises(TypeError, match="complex"):
        schema.data_type_for_dtype(np.dtype(np.complex64))


def test_records_are_pickled_and_printed():
    record = clicks()
    assert pickle.loads(pickle.dumps(record)) == record
    assert repr(schema.Struct(("a", np.int32))) == "Struct(\n  a=Scalar(dtype('int32'), None, None)\n)\n"


def test_values_become_records():
    record = schema.as_record({"a": [np.int32, np.float32], "b": [("c", np.int64)]})
    assert record.field_names() == ["a:field_0", "a:field_1", "b:c"]
    assert schema.is_schema_subset(schema.Struct(("b:c", np.int64)), record)
    assert schema.equal_schemas(schema.RawTuple(2), schema.Tuple(np.void, np.void))
    with pytest.raises(AssertionError, match="not what it was"):
        schema.schema_check([np.int32], previous=record)


def test_records_are_recovered_from_names():
    net = core.Net("recovered")
    net.AddExternalInput("in/x", "in/y:lengths", "in/y:values", "other")
    net.recover_input_record_by_prefix("nothing/")
    assert net.input_record() is None
    net.recover_input_record_by_prefix("in/")
    assert net.input_record().field_names() == ["x", "y:lengths", "y:values"]
    assert [str(blob) for blob in net.input_record().field_blobs()] == ["in/x", "in/y:lengths", "in/y:values"]
    net.AddExternalOutput(net.Copy("in/x", "out/z"))
    net.recover_output_record_by_prefix("out/")
    assert net.output_record().field_names() == ["z"]
