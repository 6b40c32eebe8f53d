"""Which operators a bundle's TFLite graphs may use, by their codes in TensorFlow Lite's ``schema.fbs``.

Deterministic arithmetic on tensors of static shape, as in ``onnx_operators.py``.
"""

from __future__ import annotations

from typing import NamedTuple

_ALLOWED = """
1 -> 1
    1:AVERAGE_POOL_2D  5:DEPTH_TO_SPACE  6:DEQUANTIZE  8:FLOOR  11:L2_NORMALIZATION  14:LOGISTIC  17:MAX_POOL_2D
    19:RELU  20:RELU_N1_TO_1  21:RELU6  25:SOFTMAX  26:SPACE_TO_DEPTH  28:TANH  43:SQUEEZE  47:EXP  50:LOG_SOFTMAX
    53:CAST  59:NEG  66:SIN  73:LOG  75:SQRT  76:RSQRT  87:LOGICAL_NOT  92:SQUARE  93:ZEROS_LIKE  98:LEAKY_RELU
    101:ABS  104:CEIL  108:COS  111:ELU  114:QUANTIZE  116:ROUND  117:HARD_SWISH  150:GELU  152:RELU_0_TO_1
    158:SIGN
2 -> 1
    0:ADD  18:MUL  23:RESIZE_BILINEAR  34:PAD  36:GATHER  39:TRANSPOSE  40:MEAN  41:SUB  42:DIV  54:PRELU
    55:MAXIMUM  56:ARG_MAX  57:MINIMUM  58:LESS  61:GREATER  62:GREATER_EQUAL  63:LESS_EQUAL  69:TILE
    70:EXPAND_DIMS  71:EQUAL  72:NOT_EQUAL  74:SUM  78:POW  79:ARG_MIN  81:REDUCE_PROD  82:REDUCE_MAX
    84:LOGICAL_OR  86:LOGICAL_AND  89:REDUCE_MIN  90:FLOOR_DIV  91:REDUCE_ANY  94:FILL  95:FLOOR_MOD
    97:RESIZE_NEAREST_NEIGHBOR  99:SQUARED_DIFFERENCE  100:MIRROR_PAD  105:REVERSE_V2  107:GATHER_ND
    126:BATCH_MATMUL  128:CUMSUM  130:BROADCAST_TO  140:REDUCE_ALL  156:ATAN2
3 -> 1
    37:BATCH_TO_SPACE_ND  38:SPACE_TO_BATCH_ND  60:PADV2  64:SELECT  65:SLICE  122:SCATTER_ND  123:SELECT_V2
    151:DYNAMIC_UPDATE_SLICE
4 -> 1
    45:STRIDED_SLICE  85:ONE_HOT
1-2 -> 1
    22:RESHAPE
2-3 -> 1
    3:CONV_2D  4:DEPTHWISE_CONV_2D  9:FULLY_CONNECTED
3-4 -> 1
    67:TRANSPOSE_CONV
+ -> 1
    2:CONCATENATION  83:PACK  106:ADD_N
1 -> +
    88:UNPACK
2 -> +
    49:SPLIT
3 -> +
    102:SPLIT_V
2 -> 2
    48:TOPK_V2
"""


class Arity(NamedTuple):
    """How many tensors an operator may have."""

    inputs: range
    outputs: range


_MOST = 1 << 12
_COUNTS = {"+": range(1, _MOST), **{str(n): range(n, n + 1) for n in (1, 2, 3, 4)}}
_COUNTS.update({f"{n}-{n + 1}": range(n, n + 2) for n in (1, 2, 3)})

ALLOWED: dict[int, str] = {}
"""Operator names by code."""
ARITIES: dict[str, Arity] = {}
"""By operator.  Engines read the tensors that an operator should have without looking whether it does."""
for _line in _ALLOWED.strip().splitlines():
    if "->" in _line:
        _inputs, _, _outputs = _line.split()
        _arity = Arity(_COUNTS[_inputs], _COUNTS[_outputs])
        continue
    for _code, _, _name in (_pair.partition(":") for _pair in _line.split()):
        ALLOWED[int(_code)], ARITIES[_name] = _name, _arity

SHAPE_INPUTS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(
        ("ARG_MAX", "ARG_MIN", "BROADCAST_TO", "CUMSUM", "EXPAND_DIMS", "MEAN", "MIRROR_PAD", "ONE_HOT"), (1,)
    ),
    **dict.fromkeys(
        ("PAD", "PADV2", "RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2", "SUM"), (1,)
    ),
    **dict.fromkeys(("TILE", "TOPK_V2", "TRANSPOSE"), (1,)),
    **{name: (1,) for name in sorted(ARITIES) if name.startswith("REDUCE_")},
    **dict.fromkeys(("BATCH_TO_SPACE_ND", "SLICE", "SPACE_TO_BATCH_ND", "SPLIT_V"), (1, 2)),
    **dict.fromkeys(("FILL", "SPLIT", "TRANSPOSE_CONV"), (0,)),
    "SCATTER_ND": (2,),
    "STRIDED_SLICE": (1, 2, 3),
}
"""The inputs, by number, whose values decide the shape of the result.  They must be stored: then every tick needs the
time and the memory that the first one needed."""

AXIS_INPUTS = {"SPLIT": (0, 1), "SPLIT_V": (2, 0)}
"""Which input is an axis of which other one, where engines do not look whether it is."""
COUNTS = {
    "SPLIT": (35, "outputs"),
    "SPLIT_V": (79, "outputs"),
    "UNPACK": (64, "outputs"),
    "PACK": (59, "inputs"),
}
"""Options (BuiltinOptions) whose first number must be how many inputs or outputs there are, again unseen by engines."""
NEEDS_A_DIMENSION = frozenset({"LOG_SOFTMAX", "SOFTMAX"})
UNSCALED = frozenset(
    [
        "BATCH_TO_SPACE_ND",
        "BROADCAST_TO",
        "CAST",
        "CONCATENATION",
        "DEPTH_TO_SPACE",
        "DYNAMIC_UPDATE_SLICE",
        "EXPAND_DIMS",
        "FILL",
        "FLOOR_DIV",
        "FLOOR_MOD",
        "GATHER",
        "GATHER_ND",
        "MIRROR_PAD",
        "ONE_HOT",
        "PACK",
        "PAD",
        "PADV2",
        "RESHAPE",
        "REVERSE_V2",
        "SCATTER_ND",
        "SELECT",
        "SELECT_V2",
        "SLICE",
        "SPACE_TO_BATCH_ND",
        "SPACE_TO_DEPTH",
        "SPLIT",
        "SPLIT_V",
        "SQUEEZE",
        "STRIDED_SLICE",
        "TILE",
        "TRANSPOSE",
        "UNPACK",
        "ZEROS_LIKE",
    ]
)
"""Operators that take small integers as they are.  All others compute with their scales."""
OTHER_TYPE = frozenset(
    [
        "ARG_MAX",
        "ARG_MIN",
        "CAST",
        "DEQUANTIZE",
        "EQUAL",
        "GREATER",
        "GREATER_EQUAL",
        "LESS",
        "LESS_EQUAL",
        "NOT_EQUAL",
        "QUANTIZE",
    ]
)
"""Operators whose result is not of the type of their first input."""

_CUSTOM = "only TFLite's own operators are known here: convert without custom and Flex operators"
_SUBGRAPH = "its running time depends on data; unroll it when exporting"
_RANDOM = "it is random, so golden vectors cannot hold it; pass noise in as an input"
_DYNAMIC = "the shape of its result depends on data"
_MEMORY = "it remembers between calls; make what it remembers part of the latent state"

WHY_REFUSED: dict[int, tuple[str, str]] = {
    31: ("CALL", _SUBGRAPH),
    32: ("CUSTOM", _CUSTOM),
    103: ("UNIQUE", _DYNAMIC),
    109: ("WHERE", _DYNAMIC),
    118: ("IF", _SUBGRAPH),
    119: ("WHILE", _SUBGRAPH),
    120: ("NON_MAX_SUPPRESSION_V4", _DYNAMIC),
    121: ("NON_MAX_SUPPRESSION_V5", _DYNAMIC),
    129: ("CALL_ONCE", _SUBGRAPH),
    136: ("HASHTABLE", _MEMORY),
    142: ("VAR_HANDLE", _MEMORY),
    143: ("READ_VARIABLE", _MEMORY),
    144: ("ASSIGN_VARIABLE", _MEMORY),
    146: ("RANDOM_STANDARD_NORMAL", _RANDOM),
    148: ("RANDOM_UNIFORM", _RANDOM),
    149: ("MULTINOMIAL", _RANDOM),
}
"""Name and reason of the refusals that exporters meet most."""
