"""Exponentials and what is made of them as arithmetic, which turns into vectors: LLVM itself calls
the C library for one number after the other.

Errors are below 3e-7 of 1 or of the value, whichever is larger.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import tvm
from tvm import tirx

Expr = Any

_LOG2_E = 1.44269504088896341
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4
_EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1)
"""Of Cephes' expf (Moshier 1992), as `_LN2_HIGH` and `_LN2_LOW`; `5.0000001201e-1` ends it."""

_TANH = (
    (
        -2.76076847742355e-16,
        2.00018790482477e-13,
        -8.60467152213735e-11,
        5.12229709037114e-08,
        1.48572235717979e-05,
        6.37261928875436e-04,
        4.89352455891786e-03,
    ),
    (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03),
)
_ERF = (
    (
        -2.72614225801306e-10,
        2.77068142495902e-08,
        -2.10102402082508e-06,
        -5.69250639462346e-05,
        -7.34990630326855e-04,
        -2.95459980854025e-03,
        -1.60960333262415e-02,
    ),
    (
        -1.45660718464996e-05,
        -2.13374055278905e-04,
        -1.68282697438203e-03,
        -7.37332916720468e-03,
        -1.42647390514189e-02,
    ),
)
"""x * P(x^2) / Q(x^2), as in Eigen (MathFunctionsImpl.h), highest power first."""


_OVER_TVMS_OWN = 99
"""The level of these rules among TVM's for LLVM, which have 10 to 15."""


def register() -> None:
    """Makes TVM write these functions so in all code for CPUs, as vectors or not."""
    for name, function in _FUNCTIONS.items():
        tirx.register_intrin_lowering(
            name, target="llvm", f=partial(_lowered, function), level=_OVER_TVMS_OWN
        )


def _lowered(function: Callable[[Expr], Expr], call: Any) -> Any:
    x = call.args[0]
    if str(_type(x)).partition("x")[0] != "float32":
        return None  # the next rule of TVM's
    return let(x, function)


def _type(x: Expr) -> Any:
    return x.ty.dtype


def _lanes(x: Expr) -> int:
    return int(tvm.DataType(str(_type(x))).lanes)


def let(value: Expr, body: Callable[[Expr], Expr]) -> Expr:
    """`body` of a value that is computed once."""
    variable = tirx.Var("t", str(_type(value)))
    return tirx.Let(variable, value, body(variable))


def _number(value: float, like: Expr) -> Expr:
    lanes = _lanes(like)
    scalar = tirx.FloatImm("float32", value)
    return scalar if lanes == 1 else tirx.Broadcast(scalar, lanes)


def _clamped(x: Expr, low: float, high: float) -> Expr:
    return tirx.max(tirx.min(x, _number(high, x)), _number(low, x))


def _polynomial(x: Expr, coefficients: Sequence[float]) -> Expr:
    total = _number(coefficients[0], x)
    for coefficient in coefficients[1:]:
        total = total * x + _number(coefficient, x)
    return total


def exponential(x: Expr) -> Expr:
    """e^x, where it is a normal number; else the smallest or the largest of those."""
    return let(_clamped(x, -87.3, 88.3), _reduced)


def _reduced(x: Expr) -> Expr:
    power = tirx.floor(x * _number(_LOG2_E, x) + _number(0.5, x))

    def scaled(n: Expr) -> Expr:
        rest = x - n * _number(_LN2_HIGH, x) - n * _number(_LN2_LOW, x)
        lanes = _lanes(x)
        whole = tirx.Cast("int32" if lanes == 1 else f"int32x{lanes}", n)
        shift, bias = (_whole(number, lanes) for number in (23, 127))
        factor = tirx.reinterpret(str(_type(x)), tirx.shift_left(whole + bias, shift))
        return let(rest, lambda r: _series(r) * factor)

    return let(power, scaled)


def _whole(value: int, lanes: int) -> Expr:
    scalar = tirx.IntImm("int32", value)
    return scalar if lanes == 1 else tirx.Broadcast(scalar, lanes)


def _series(r: Expr) -> Expr:
    return _polynomial(r, (*_EXP, 5.0000001201e-1)) * r * r + r + _number(1, r)


def sigmoid(x: Expr) -> Expr:
    return _number(1, x) / (_number(1, x) + exponential(_number(0, x) - x))


def _ratio(x: Expr, limit: float, parts: Sequence[Sequence[float]]) -> Expr:
    above, below = parts

    def of(clamped: Expr) -> Expr:
        square = clamped * clamped
        return let(square, lambda s: clamped * _polynomial(s, above) / _polynomial(s, below))

    return let(_clamped(x, -limit, limit), of)


def tanh(x: Expr) -> Expr:
    return _ratio(x, 7.90531110763549805, _TANH)


def erf(x: Expr) -> Expr:
    return _ratio(x, 4.0, _ERF)


_FUNCTIONS: Mapping[str, Callable[[Expr], Expr]] = {
    "tirx.erf": erf,
    "tirx.exp": exponential,
    "tirx.sigmoid": sigmoid,
    "tirx.tanh": tanh,
}
