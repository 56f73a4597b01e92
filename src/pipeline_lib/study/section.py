"""What the typed sections of the configuration are made of.

A section is a frozen dataclass that pydantic checks when it is made, from keyword arguments or from
the plain values of a YAML file. A field's type carries its bounds and the string below a field is
its description: error messages, the JSON schema and the documentation are made from these alone.
"""

import re
from typing import Annotated, Any, TypeVar, cast, dataclass_transform

import pydantic.dataclasses
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, Strict
from pydantic_core import PydanticCustomError

Class = TypeVar("Class")

_CONFIG = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
_NUMBER = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+")


@dataclass_transform(frozen_default=True)
def section(cls: type[Class]) -> type[Class]:
    """Class decorator: a section of the configuration."""
    make = pydantic.dataclasses.dataclass(frozen=True, config=_CONFIG)
    return cast(type[Class], make(cls))


def _from_yaml(value: Any) -> Any:
    # YAML 1.1 reads 1e-5, which has no point, as text.
    return float(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value


def _each_once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise PydanticCustomError("each_once", "holds a value twice")
    return values


def _sorted(values: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(values))


# YAML's true is no number and 4.0 no whole one.
Whole = Annotated[int, Strict()]
Count = Annotated[Whole, Field(ge=1)]
AtLeastTwo = Annotated[Whole, Field(ge=2)]
NotNegative = Annotated[Whole, Field(ge=0)]
Number = Annotated[float, Strict(), BeforeValidator(_from_yaml)]
Positive = Annotated[Number, Field(gt=0)]
NotBelowZero = Annotated[Number, Field(ge=0)]
Share = Annotated[Number, Field(ge=0, lt=1)]
Flag = Annotated[bool, Strict()]
Text = Annotated[str, Strict()]
Rational = Annotated[Text, Field(pattern=r"^-?[0-9]+(/[1-9][0-9]*)?$")]
Name = Annotated[Text, Field(pattern=r"^[a-z][a-z0-9_]*$")]
EachOnce = AfterValidator(_each_once)
InOrder = AfterValidator(_sorted)
"""Numbers are kept in ascending order, however they are listed."""
UNIQUE = Field(min_length=1, json_schema_extra={"uniqueItems": True})
BatchSizes = Annotated[tuple[Count, ...], UNIQUE, EachOnce, InOrder]
