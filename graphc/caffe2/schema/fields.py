"""Fields of a record: trees of structs and lists whose leaves are tensors.

A record is a table of rows that may nest: a ``Scalar`` is one tensor with an element a row, a ``List`` a tensor of
lengths and the items of all rows one after another, a ``Struct`` several fields by name. Names of leaves are paths with
colons: ``clicks:values:time``.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from graphc.caffe2.core.blob_reference import BlobReference

_LOG = logging.getLogger(__name__)

FIELD_SEPARATOR = ":"


class FeatureSpec(NamedTuple):
    """What is known of the features in a field."""

    feature_type: Any = None
    feature_names: Any = None
    feature_ids: Any = None
    feature_is_request_only: Any = None
    desired_hash_size: Any = None
    feature_to_index: Any = None


class Metadata(NamedTuple):
    """What is known of the numbers in a leaf.

    categorical_limit: all are below, and none is negative. expected_value: what to expect. feature_specs: a
    ``FeatureSpec``.
    """

    categorical_limit: Any = None
    expected_value: Any = None
    feature_specs: Any = None


class Field:
    """A part of a record. Two are equal where the names, types and metadata of their leaves are."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, children: Iterable[Field]) -> None:
        self._parent: tuple[Field | None, int] = (None, 0)
        self._field_offsets = [0]
        for child in children:
            self._field_offsets.append(self._field_offsets[-1] + len(child.field_names()))

    def _parts(self) -> list[tuple[str, Field]]:
        """The fields in this one, with what they add to the names of leaves."""
        raise NotImplementedError("Field is an abstract class.")

    def field_names(self) -> list[str]:
        """The names of the leaves."""
        return [_joined(name, leaf) for name, part in self._parts() for leaf in part.field_names()]

    def field_types(self) -> list[np.dtype]:
        """The element types of the leaves, with the shape of a row."""
        return [dtype for _, part in self._parts() for dtype in part.field_types()]

    def field_metadata(self) -> list[Metadata | None]:
        """The metadata of the leaves."""
        return [metadata for _, part in self._parts() for metadata in part.field_metadata()]

    def field_blobs(self) -> list[Any]:
        """What the leaves hold: blobs or arrays. Raises ``AssertionError`` for one that holds nothing."""
        return [blob for _, part in self._parts() for blob in part.field_blobs()]

    def all_scalars(self) -> list[Scalar]:
        """The leaves."""
        return [leaf for _, part in self._parts() for leaf in part.all_scalars()]

    def has_blobs(self) -> bool:
        """Every leaf holds something."""
        return all(part.has_blobs() for _, part in self._parts())

    def clone(self, keep_blobs: bool = True) -> Any:
        """A copy, with or without what the leaves hold."""
        raise NotImplementedError("Field is an abstract class.")

    def clone_schema(self) -> Any:
        """A copy whose leaves hold nothing."""
        return self.clone(keep_blobs=False)

    def slice(self) -> slice:
        """Where the leaves of this field are in a list with one item for each leaf of the whole record."""
        first = self._child_base_id()
        return slice(first, first + len(self.field_names()))

    def _set_parent(self, parent: Field, position: int) -> None:
        self._parent = (parent, position)

    def _child_base_id(self, child_index: int | None = None) -> int:
        parent, position = self._parent
        offset = 0 if child_index is None else self._field_offsets[child_index]
        return offset + (parent._child_base_id(position) if parent is not None else 0)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Field):
            return NotImplemented
        return (
            self.field_names() == other.field_names()
            and self.field_types() == other.field_types()
            and self.field_metadata() == other.field_metadata()
        )

    def _lines(self) -> list[str]:
        """The field as text."""
        lines = [f"{type(self).__name__}("]
        for name, part in self._parts():
            first, *rest = part._lines()
            lines += [f"  {name}={first}", *("  " + line for line in rest)]
        return [*lines, ")"]

    def __repr__(self) -> str:
        return "\n".join(self._lines()) + "\n"


def _joined(prefix: str, suffix: str) -> str:
    return FIELD_SEPARATOR.join(part for part in (prefix, suffix) if part)


def as_field(given: Any, keep_blobs: bool = True) -> Any:
    """A field from a field (a copy), an element type, or what a leaf shall hold."""
    if isinstance(given, Field):
        return given.clone(keep_blobs=keep_blobs)
    if isinstance(given, type | np.dtype):
        return Scalar(dtype=given)
    return Scalar(blob=given)


# ---- leaves ----------------------------------------------------------------------------------------------------------


class Scalar(Field):
    """A leaf: one tensor with an element a row, or an array of one shape a row.

    dtype: anything of NumPy's, ``(type, shape)`` for rows that are arrays; unknown (``np.void``) unless given or known
    from the blob. blob: a ``BlobReference``, or an array or what can be made one.
    """

    def __init__(self, dtype: Any = None, blob: Any = None, metadata: Metadata | None = None) -> None:
        self._metadata: Metadata | None = None
        self.set(dtype, blob, metadata, unsafe=True)
        super().__init__([])

    def field_names(self) -> list[str]:
        """One empty name."""
        return [""]

    def field_type(self) -> np.dtype:
        """The element type."""
        return self.dtype

    def field_types(self) -> list[np.dtype]:
        """The element type, in a list."""
        return [self.dtype]

    def field_metadata(self) -> list[Metadata | None]:
        """The metadata, in a list."""
        return [self._metadata]

    def field_blobs(self) -> list[Any]:
        """What it holds, in a list; raises ``AssertionError`` for nothing."""
        return [self.get()]

    def all_scalars(self) -> list[Scalar]:
        """Itself."""
        return [self]

    def has_blobs(self) -> bool:
        """It holds something."""
        return self._blob is not None

    def clone(self, keep_blobs: bool = True) -> Scalar:
        """A copy."""
        return Scalar(self._original_dtype, self._blob if keep_blobs else None, self._metadata)

    def get(self) -> Any:
        """What it holds; raises ``AssertionError`` for nothing."""
        if self._blob is None:
            raise AssertionError("Value is not set for this field.")
        return self._blob

    def __call__(self) -> Any:
        return self.get()

    @property
    def metadata(self) -> Metadata | None:
        """The metadata, or None."""
        return self._metadata

    def set_metadata(self, value: Metadata) -> None:
        """Set the metadata; raises ``AssertionError``: a limit is for whole numbers only."""
        if not isinstance(value, Metadata):
            raise AssertionError(f"metadata must be Metadata, got {type(value)}")
        self._metadata = value
        self._check_metadata()

    def _check_metadata(self) -> None:
        if self._metadata is None or self._metadata.categorical_limit is None:
            return
        if not np.issubdtype(self.dtype.base, np.integer):
            raise AssertionError(
                f"`categorical_limit` can be specified only in integral fields but got {self.dtype.base}"
            )

    def set_value(self, blob: Any, throw_on_type_mismatch: bool = False, unsafe: bool = False) -> None:
        """Set what it holds; throw_on_type_mismatch: ``AssertionError`` unless it is an array of the element type."""
        is_known = throw_on_type_mismatch and self.dtype.base != np.void
        if is_known and getattr(blob, "dtype", None) != self.dtype.base:
            raise AssertionError(f"Expected {self.dtype.base}, got {getattr(blob, 'dtype', repr(blob))}")
        self.set(dtype=self._original_dtype, blob=blob, unsafe=unsafe)

    def set(self, dtype: Any = None, blob: Any = None, metadata: Metadata | None = None, unsafe: bool = False) -> None:
        """Set type, blob and metadata as the constructor does; meant for fields just made, which ``unsafe`` says.

        Raises ``ValueError`` for a text, which might be a blob's name or its content, ``TypeError`` for rows of an
        unknown type, ``AssertionError`` for a type of several fields and for what is no array.
        """
        if not unsafe:
            _LOG.warning("a Scalar should not change once it is in use; say unsafe=True for one that was just made")
        if isinstance(blob, str | bytes):
            raise ValueError(
                "Passing str blob to Scalar.set() is ambiguous. Do either set(blob=np.array(blob)) or "
                "set(blob=BlobReference(blob))"
            )
        found = None if dtype is None else _row_type(dtype, blob)
        if blob is not None and not isinstance(blob, BlobReference):
            blob, found = _contents(blob, found)
        found = np.dtype(np.void) if found is None else found
        if found.fields:
            raise AssertionError("Cannot create Scalar with a structured dtype. Use from_dtype instead.")
        self._original_dtype = dtype
        self.dtype = found
        self._blob = blob
        if metadata is not None:
            self.set_metadata(metadata)
        self._check_metadata()

    def set_type(self, dtype: Any) -> None:
        """Set the element type; None for an unknown one."""
        self._original_dtype = dtype
        self.dtype = np.dtype(np.void if dtype is None else dtype)
        self._check_metadata()

    def id(self) -> int:
        """The position of this leaf among all leaves of the record."""
        return self._child_base_id()

    def _lines(self) -> list[str]:
        return [f"Scalar({self.dtype!r}, {self._blob!r}, {self._metadata!r})"]


def _row_type(dtype: Any, blob: Any) -> np.dtype:
    """NumPy's type; ``(type, 1)`` stays a row of one."""
    if isinstance(dtype, tuple):
        if dtype[0] == np.void:
            raise TypeError(f"Cannot set the Scalar with type {dtype} for blob {blob}: give the type of its elements")
        if isinstance(dtype[1], int) and dtype[1] == 1:
            dtype = (dtype[0], (1,))
    found: np.dtype = np.dtype(dtype)
    return found


def _contents(given: Any, dtype: np.dtype | None) -> tuple[np.ndarray, np.dtype | None]:
    """An array of the element type, with the type of its rows."""
    is_array = isinstance(given, np.ndarray)
    if dtype is None or dtype == np.void:
        if not is_array:
            raise AssertionError(f"Invalid blob type: {type(given)}")
        return given, dtype
    array = np.array(given, dtype=dtype.base)
    if not is_array and array.size == 0:
        array = array.reshape((0, *dtype.shape))
    if not is_array and array.ndim == 0:
        array = array.reshape(1)
    if array.ndim > 1 and dtype.base != np.void:
        dtype = np.dtype((dtype.base, array.shape[1:]))
    return array, dtype


# ---- lists -----------------------------------------------------------------------------------------------------------


class List(Field):
    """A list a row: ``lengths``, int32, and the items of all rows.

    The fields of a list of structs are attributes of the list; other items are ``value``, or ``items``.
    """

    def __init__(self, values: Any, lengths_blob: Any = None) -> None:
        self.lengths = _leaf(lengths_blob, np.int32)
        self._items = as_field(values)
        for position, (_, part) in enumerate(self._parts()):
            part._set_parent(self, position)
        super().__init__(part for _, part in self._parts())

    def _parts(self) -> list[tuple[str, Field]]:
        return [("lengths", self.lengths), ("values", self._items)]

    def clone(self, keep_blobs: bool = True) -> Any:
        """A copy, of the same class."""
        return type(self)(self._items.clone(keep_blobs), self.lengths.clone(keep_blobs))

    def __getattr__(self, item: str) -> Any:
        items = vars(self).get("_items")
        if isinstance(items, Struct) and not item.startswith("__"):
            return getattr(items, item)
        if item in ("value", "items") and items is not None:
            return items
        raise AttributeError(f"Field not found in list: {item}.")

    def __getitem__(self, item: str) -> Any:
        name, _, rest = item.partition(FIELD_SEPARATOR)
        part = dict(self._parts()).get(name)
        if part is None or (rest and name != "values"):
            raise KeyError(f"Field not found in list: {item}.")
        return part[rest] if rest else part  # type: ignore[index]


class ListWithEvicted(List):
    """A list with the identifiers, int64, that a table of hashes dropped for new ones."""

    def __init__(self, values: Any, lengths_blob: Any = None, evicted_values: Any = None) -> None:
        self._evicted_values = _leaf(evicted_values, np.int64)
        super().__init__(values, lengths_blob)

    def _parts(self) -> list[tuple[str, Field]]:
        return [*super()._parts(), ("_evicted_values", self._evicted_values)]

    def clone(self, keep_blobs: bool = True) -> Any:
        """A copy, of the same class."""
        parts = (self._items, self.lengths, self._evicted_values)
        return type(self)(*(part.clone(keep_blobs) for part in parts))


def _leaf(given: Any, dtype: Any) -> Scalar:
    """A leaf of an element type for a blob, or a copy of a leaf; raises ``AssertionError`` for another field."""
    if not isinstance(given, Field):
        return Scalar(dtype, given)
    if not isinstance(given, Scalar):
        raise AssertionError(f"a Scalar is needed, not a {type(given).__name__}")
    return given.clone()


# ---- structs ---------------------------------------------------------------------------------------------------------


class Struct(Field):
    """Fields by name, in order: pairs (name, field); a field is given as ``as_field`` understands it.

    A name may be a path: ``("a:b", x)`` is ``("a", Struct(("b", x)))``. Structs of one name are merged, other fields
    of one name are a ``ValueError``. Fields are attributes, which cannot be assigned to.
    """

    fields: OrderedDict[str, Field]
    _frozen = False

    def __init__(self, *fields: tuple[str, Any]) -> None:
        self.fields = OrderedDict()
        for name, given in fields:
            if not name:
                raise AssertionError("Field names cannot be empty")
            if name == "lengths":
                raise AssertionError("Struct cannot contain a field named `lengths`.")
            self._add(name, as_field(given))
        for position, field in enumerate(self.fields.values()):
            field._set_parent(self, position)
        super().__init__(self.fields.values())
        self._frozen = True

    def _add(self, path: str, field: Field) -> None:
        name, _, rest = path.partition(FIELD_SEPARATOR)
        if rest:
            field = Struct((rest, field))
        old = self.fields.get(name)
        if old is not None and not (isinstance(old, Struct) and isinstance(field, Struct)):
            raise ValueError(f"Duplicate field name: {name}")
        self.fields[name] = field if old is None else _merged(name, old, field)

    def _parts(self) -> list[tuple[str, Field]]:
        return list(self.fields.items())

    def get_children(self) -> list[tuple[str, Field]]:
        """Names and fields."""
        return self._parts()

    def clone(self, keep_blobs: bool = True) -> Any:
        """A copy, of the same class."""
        return type(self)(*((name, field.clone(keep_blobs)) for name, field in self._parts()))

    def _find(self, path: str) -> Any:
        """The field of a path, or None."""
        name, _, rest = path.partition(FIELD_SEPARATOR)
        field = self.fields.get(name)
        if field is None or not rest:
            return field
        try:
            return field[rest]  # type: ignore[index]
        except (KeyError, TypeError):
            return None

    def __contains__(self, item: str) -> bool:
        return self._find(item) is not None

    def __len__(self) -> int:
        return len(self.fields)

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields.values())

    def __getitem__(self, item: Any) -> Any:
        """A field by its path or position, or the struct of several; ``KeyError`` and ``IndexError`` for none."""
        if isinstance(item, list | tuple):
            names = list(self.fields)
            return Struct(*((names[k] if isinstance(k, int) else k, self[k]) for k in item))
        if isinstance(item, int):
            return list(self.fields.values())[item]
        field = self._find(item)
        if field is None:
            raise KeyError(f'field "{item}" not found')
        return field

    def get(self, item: str, default_value: Any) -> Any:
        """A field, or a default where there is none of the name."""
        return getattr(self, item, default_value)

    def __getattr__(self, item: str) -> Any:
        fields = vars(self).get("fields", {})
        if item in fields and not item.startswith("__"):
            return fields[item]
        raise AttributeError(f"the struct has no field '{item}'; it has {', '.join(fields) or 'none'}")

    def __setattr__(self, key: str, value: Any) -> None:
        if self._frozen and not key.startswith("_"):
            raise TypeError("Struct.__setattr__() is disabled after __init__()")
        super().__setattr__(key, value)

    def __add__(self, other: object) -> Struct:
        """The fields of both; structs of one name are merged, ``TypeError`` for other fields of one name."""
        if not isinstance(other, Struct):
            return NotImplemented
        return self._combined(other, _merged)

    def __sub__(self, other: object) -> Struct:
        """The fields without those of the other, structs of one name likewise; ``TypeError`` for different fields."""
        if not isinstance(other, Struct):
            return NotImplemented
        return self._combined(other, _remaining, add=False)

    def _combined(
        self, other: Struct, combine: Callable[[str, Field, Field], Field | None], add: bool = True
    ) -> Struct:
        children: OrderedDict[str, Field | None] = OrderedDict(self._parts())
        for name, right in other._parts():
            left = children.get(name)
            if left is not None:
                children[name] = combine(name, left, right)
            elif add:
                children[name] = right
        return Struct(*((name, field) for name, field in children.items() if field is not None))


def _merged(name: str, left: Field, right: Field) -> Field:
    if not (isinstance(left, Struct) and isinstance(right, Struct)):
        raise TypeError(f"field {name} is a {type(left).__name__} and a {type(right).__name__}; only structs merge")
    return left + right


def _remaining(name: str, left: Field, right: Field) -> Field | None:
    if type(left) is not type(right):
        raise TypeError(f"field {name} is a {type(left).__name__} here and a {type(right).__name__} there")
    if not (isinstance(left, Struct) and isinstance(right, Struct)):
        return None
    rest = left - right
    return rest if len(rest) else None


# ---- short forms -----------------------------------------------------------------------------------------------------


def Map(keys: Any, values: Any, keys_name: str = "keys", values_name: str = "values", lengths_blob: Any = None) -> List:
    """A list of pairs."""
    return List(Struct((keys_name, keys), (values_name, values)), lengths_blob=lengths_blob)


def MapWithEvicted(
    keys: Any,
    values: Any,
    keys_name: str = "keys",
    values_name: str = "values",
    lengths_blob: Any = None,
    evicted_values: Any = None,
) -> ListWithEvicted:
    """A list of pairs with the identifiers that were dropped."""
    return ListWithEvicted(Struct((keys_name, keys), (values_name, values)), lengths_blob, evicted_values)


def NamedTuple_(name_prefix: str, *fields: Any) -> Struct:
    """A struct of the fields ``prefix_0``, ``prefix_1`` ..."""
    return Struct(*((f"{name_prefix}_{i}", field) for i, field in enumerate(fields)))


def Tuple(*fields: Any) -> Struct:
    """A struct of the fields ``field_0``, ``field_1`` ..."""
    return NamedTuple_("field", *fields)


def RawTuple(num_fields: int, name_prefix: str = "field") -> Struct:
    """A struct of so many leaves of unknown type."""
    if not isinstance(num_fields, int) or num_fields < 0:
        raise AssertionError(f"a number of fields is needed, not {num_fields!r}")
    return NamedTuple_(name_prefix, *([np.void] * num_fields))


def as_record(value: Any) -> Any:
    """A field from a field, a dict or pairs of names and fields, a list of fields, an element type or an array."""
    if isinstance(value, Field):
        return value
    if isinstance(value, dict):
        return Struct(*((name, as_record(field)) for name, field in value.items()))
    if not isinstance(value, list | tuple):
        return as_field(value)
    if value and all(_is_named(item) for item in value):
        return Struct(*((name, as_record(field)) for name, field in value))
    return Tuple(*map(as_record, value))


def _is_named(item: Any) -> bool:
    return isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str)


def attach_metadata_to_scalars(field: Field, metadata: Metadata) -> None:
    """Set the metadata of every leaf."""
    for leaf in field.all_scalars():
        leaf.set_metadata(metadata)


# ---- comparing -------------------------------------------------------------------------------------------------------


def is_schema_subset(schema: Field, original_schema: Field) -> bool:
    """Every leaf's name is one of the other's."""
    return set(schema.field_names()) <= set(original_schema.field_names())


def equal_schemas(
    schema: Field,
    original_schema: Field,
    check_field_names: bool = True,
    check_field_types: bool = True,
    check_field_metas: bool = False,
) -> bool:
    """The leaves of two fields are the same in the things that are to be checked."""
    for field in (schema, original_schema):
        if not isinstance(field, Field):
            raise AssertionError(f"a Field is needed, not a {type(field).__name__}")
    names = ("field_names", "field_types", "field_metadata")
    wanted = (check_field_names, check_field_types, check_field_metas)
    checks = [name for name, is_wanted in zip(names, wanted) if is_wanted]
    return all(getattr(schema, name)() == getattr(original_schema, name)() for name in checks)


def schema_check(schema: Any, previous: Field | None = None) -> Any:
    """``as_record``; raises ``AssertionError`` for one that is not like the one before."""
    record = as_record(schema)
    if previous is not None and not equal_schemas(record, previous):
        raise AssertionError(f"the record is not what it was: {record}\nbefore: {previous}")
    return record
