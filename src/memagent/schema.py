"""The table of settings as a JSON Schema, for editors that complete and check a configuration file.

It describes a file, which is not the whole: another file or the environment may say the rest, so nothing at
the root or in a pool has to be there. Rules between settings are `magent check`'s. Editors read draft 7.
"""

import json
from typing import Any, Final, get_args

from pydantic import BaseModel, TypeAdapter

from memagent.including import INCLUDE
from memagent.rows import WORD_SCHEMA, Setting, bounds_of, json_schema_of, settings_of
from memagent.settings import Config, ListenAddress, PoolConfig, ServerConfig
from memagent.units import COUNT_PATTERN, SIZE_PATTERN, SWITCH_PATTERN, TIME_PATTERN

Schema = dict[str, Any]

_PATTERNS: Final = {"count": COUNT_PATTERN, "ms": TIME_PATTERN, "bytes": SIZE_PATTERN}
_MOST_ITEMS: Final = 1024


def schema() -> Schema:
    """Of a YAML file's root."""
    path = {"type": "string", "minLength": 1}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "memagent's configuration",
        **_table(Config),
        "properties": {
            INCLUDE: {
                "description": "Other files, or patterns such as conf.d/*.yaml; this file wins over them",
                "anyOf": [path, {"type": "array", "items": path}],
            },
            **_properties(Config),
        },
        "definitions": {"pool": _table(PoolConfig), "server": _table(ServerConfig)},
    }


def schema_text() -> str:
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def _table(model: type[BaseModel]) -> Schema:
    table: Schema = {"type": "object", "additionalProperties": False, "properties": _properties(model)}
    if model is ServerConfig:
        table["required"] = ["address"]
    return table


def _properties(model: type[BaseModel]) -> Schema:
    properties = {}
    for row in settings_of(model).values():
        properties[row.name] = {"description": _words(row), **_value(model, row), **_default(model, row)}
        if row.secret:
            text = f"The file that holds {row.name}"
            properties[f"{row.name}_file"] = {"description": text, "type": "string", "pattern": "^/"}
    return properties


def _words(row: Setting) -> str:
    default = "" if row.default is None else f"\nDefault: {row.default}"
    return f"{row.description}\nAllowed: {row.allowed}{default}"


def _default(model: type[BaseModel], row: Setting) -> Schema:
    """Where the default is a value, and not something that words have to say."""
    field = model.model_fields[row.name]
    extra = field.json_schema_extra
    if row.required or (isinstance(extra, dict) and extra["shown"]):
        return {}
    return {"default": row.default if row.unit in ("ms", "bytes") else field.default}


def _value(model: type[BaseModel], row: Setting) -> Schema:
    if row.many:
        item = get_args(model.model_fields[row.name].annotation)[0]
        if item is PoolConfig:
            return {
                "type": "object",
                "propertyNames": WORD_SCHEMA,
                "additionalProperties": {"$ref": "#/definitions/pool"},
            }
        return {"type": "array", "maxItems": _MOST_ITEMS, "items": _item(item)}
    if row.unit == "switch":
        return {
            "anyOf": [{"type": "boolean"}, {"enum": [0, 1]}, {"type": "string", "pattern": SWITCH_PATTERN}]
        }
    if row.unit is not None:
        low, high = bounds_of(model, row.name)
        number = {"type": "integer", "minimum": low, "maximum": high}
        choices = [number, {"type": "string", "pattern": _PATTERNS[row.unit]}]
        return {"anyOf": [*choices, {"enum": list(row.words)}] if row.words else choices}
    return json_schema_of(model, row.name)


def _item(model: Any) -> Schema:
    """Of an item of a list; what is no table says it itself."""
    if not isinstance(model, type):
        return TypeAdapter(model).json_schema()
    if model is ListenAddress:
        return {
            "anyOf": [{"type": "integer", "minimum": 1, "maximum": 65535}, {"type": "string", "minLength": 1}]
        }
    if model is ServerConfig:
        return {"anyOf": [{"type": "string", "minLength": 1}, {"$ref": "#/definitions/server"}]}
    return _table(model)
