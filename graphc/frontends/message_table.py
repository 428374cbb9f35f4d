"""Protobuf schemas as tables of text, and message classes built from them in private descriptor pools.

A message is its fields between semicolons, a field ``[*]type name=number [packed] [=default]``; ``*`` is repeated. A
type of the same message is found before one of the package. An enum is ``NAME=number`` between blanks. Names with a dot
are nested. The pools are private, so the classes never clash with generated modules of other packages.

``required`` fields are declared optional: the wire is the same, and a file that lacks one gets graphc's own message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from google.protobuf import descriptor_pb2, descriptor_pool

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "uint32": _Field.TYPE_UINT32,
    "float": _Field.TYPE_FLOAT,
    "double": _Field.TYPE_DOUBLE,
    "bool": _Field.TYPE_BOOL,
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
}


@dataclass(frozen=True)
class MessageTable:
    """The messages and enums of one package."""

    package: str
    messages: Mapping[str, str]
    enums: Mapping[str, str]

    def pool(
        self, raw: bool = False, rename: Callable[[str, str], str] = lambda message, field: field
    ) -> descriptor_pool.DescriptorPool:
        """A pool of the messages. raw: every string is read as bytes; rename: another name for a message's field."""
        path = f"graphc/{self.package}.proto"
        file = descriptor_pb2.FileDescriptorProto(name=path, package=self.package, syntax="proto2")
        for name in (n for n in self.messages if "." not in n):
            file.message_type.add().CopyFrom(self._message(name, raw, rename))
        for name in (n for n in self.enums if "." not in n):
            file.enum_type.add().CopyFrom(self._enum(name))
        pool = descriptor_pool.DescriptorPool()
        pool.Add(file) if hasattr(pool, "Add") else pool.AddSerializedFile(file.SerializeToString())
        return pool

    def _enum(self, name: str) -> descriptor_pb2.EnumDescriptorProto:
        enum_type = descriptor_pb2.EnumDescriptorProto(name=name.rsplit(".", 1)[-1])
        for item in self.enums[name].split():
            key, number = item.split("=")
            enum_type.value.add(name=key, number=int(number))
        return enum_type

    def _message(self, name: str, raw: bool, rename: Callable[[str, str], str]) -> descriptor_pb2.DescriptorProto:
        message = descriptor_pb2.DescriptorProto(name=name.rsplit(".", 1)[-1])
        for text in self.messages[name].split(";"):
            message.field.add().CopyFrom(self._field(name, text.split(), raw, rename))
        message.nested_type.extend(self._message(n, raw, rename) for n in self.messages if n.startswith(name + "."))
        message.enum_type.extend(self._enum(n) for n in self.enums if n.startswith(name + "."))
        return message

    def _field(self, owner: str, words: list[str], raw: bool, rename: Callable[[str, str], str]) -> _Field:
        kind, (name, number), options = words[0], words[1].split("="), words[2:]
        field = _Field(name=rename(owner, name), number=int(number))
        field.label = _Field.LABEL_REPEATED if kind.startswith("*") else _Field.LABEL_OPTIONAL
        kind = kind.lstrip("*")
        if kind in _SCALARS:
            field.type = _SCALARS["bytes" if raw and kind == "string" else kind]
        else:
            self._refer(field, owner, kind)
        for option in options:
            if option == "packed":
                field.options.packed = True
            else:
                field.default_value = option[1:]
        return field

    def _refer(self, field: _Field, owner: str, kind: str) -> None:
        nested = f"{owner}.{kind}"
        target = nested if nested in self.messages or nested in self.enums else kind
        field.type = _Field.TYPE_ENUM if target in self.enums else _Field.TYPE_MESSAGE
        field.type_name = f".{self.package}.{target}"
