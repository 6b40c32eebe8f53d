"""Which operators a bundle's TFLite graphs may use, by their codes in TensorFlow Lite's ``schema.fbs``.

Deterministic arithmetic on tensors of static shape, as in ``onnx_operators.py``.
"""

from __future__ import annotations

_ALLOWED = """
0:ADD  1:AVERAGE_POOL_2D  2:CONCATENATION  3:CONV_2D  4:DEPTHWISE_CONV_2D  5:DEPTH_TO_SPACE  6:DEQUANTIZE
8:FLOOR  9:FULLY_CONNECTED  11:L2_NORMALIZATION  14:LOGISTIC  17:MAX_POOL_2D  18:MUL  19:RELU  20:RELU_N1_TO_1
21:RELU6  22:RESHAPE  23:RESIZE_BILINEAR  25:SOFTMAX  26:SPACE_TO_DEPTH  28:TANH  34:PAD  36:GATHER
37:BATCH_TO_SPACE_ND  38:SPACE_TO_BATCH_ND  39:TRANSPOSE  40:MEAN  41:SUB  42:DIV  43:SQUEEZE
45:STRIDED_SLICE  47:EXP  48:TOPK_V2  49:SPLIT  50:LOG_SOFTMAX  53:CAST  54:PRELU  55:MAXIMUM  56:ARG_MAX
57:MINIMUM  58:LESS  59:NEG  60:PADV2  61:GREATER  62:GREATER_EQUAL  63:LESS_EQUAL  64:SELECT  65:SLICE
66:SIN  67:TRANSPOSE_CONV  69:TILE  70:EXPAND_DIMS  71:EQUAL  72:NOT_EQUAL  73:LOG  74:SUM  75:SQRT  76:RSQRT
78:POW  79:ARG_MIN  81:REDUCE_PROD  82:REDUCE_MAX  83:PACK  84:LOGICAL_OR  85:ONE_HOT  86:LOGICAL_AND
87:LOGICAL_NOT  88:UNPACK  89:REDUCE_MIN  90:FLOOR_DIV  91:REDUCE_ANY  92:SQUARE  93:ZEROS_LIKE  94:FILL
95:FLOOR_MOD  97:RESIZE_NEAREST_NEIGHBOR  98:LEAKY_RELU  99:SQUARED_DIFFERENCE  100:MIRROR_PAD  101:ABS
102:SPLIT_V  104:CEIL  105:REVERSE_V2  106:ADD_N  107:GATHER_ND  108:COS  111:ELU  114:QUANTIZE  116:ROUND
117:HARD_SWISH  122:SCATTER_ND  123:SELECT_V2  126:BATCH_MATMUL  128:CUMSUM  130:BROADCAST_TO  140:REDUCE_ALL
150:GELU  151:DYNAMIC_UPDATE_SLICE  152:RELU_0_TO_1  156:ATAN2  158:SIGN
"""

ALLOWED: dict[int, str] = {
    int(code): name for code, _, name in (pair.partition(":") for pair in _ALLOWED.split())
}
"""Operator names by code."""

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
