"""How each backend wants its INT8 graph: the same plan is fast on one runtime and wrong on another.

Sources: TensorRT's developer guide ("Explicit quantization: Q/DQ placement"), ONNX Runtime's
quantization page ("QDQ format", "reduce_range"), OpenVINO's low precision transformations; and
what was measured on this project's machines: with signed activations ONNX Runtime's CPU kernels are
half as fast, and OpenVINO's answers on the same file fall from 34 to 9 dB.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from roadworthy.core.errors import UnavailableError

# Operators whose arithmetic gains from INT8.
COMPUTE = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
# Two products of a weight and an activation, added up, stay within 16 bits.
_REDUCED_LIMIT = 63
# Operators that hand values on unchanged: input and output share one scale.
THROUGH = frozenset(
    {"DepthToSpace", "Flatten", "MaxPool", "Reshape", "Resize", "Slice"}
    | {"Squeeze", "Transpose", "Unsqueeze"}
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """Where a backend wants Q/DQ, and of which kind.

    Attributes:
        name: the backend.
        activations: "uint8" (with a zero-point) or "int8" (symmetric, zero-point 0).
        compute: which of `COMPUTE` it has INT8 kernels for.
        left_out: why the others stay in float.
        light: further operators that it runs in INT8 with scales of their own, between operators
            in INT8.
        through: operators that it runs on quantised values as they are.
        joins: the parts of a Concat and the whole take one scale, so that nothing is counted anew.
        outputs: it also needs the results of INT8 operators quantised.
        floats: but for these, whose kernels also give floats where only floats are wanted.
        biases: it needs biases as int32, at input scale times weight scale.
        stored: it takes weights stored as INT8; otherwise they stay float, with a Q of their own.
        whole: operators whose weights it takes with one scale only.
        weight_limit: largest magnitude of a quantised weight: 127, or 63 where pairs of products
            are added up in 16 bits and would saturate (x86 before VNNI).
        scale_dtype: "float32", or "float16" where what isn't INT8 runs in FP16 (ADR 0012): scales
            and the values they stand for are then chosen so that FP16 holds them.
        note: what a reader of the plan must know of how the dialect was chosen; mostly empty.
    """

    name: str
    activations: str
    compute: frozenset[str]
    left_out: str
    light: frozenset[str] = frozenset()
    through: frozenset[str] = frozenset()
    joins: bool = False
    outputs: bool = False
    floats: frozenset[str] = frozenset()
    biases: bool = False
    stored: bool = True
    whole: frozenset[str] = frozenset()
    weight_limit: int = 127
    scale_dtype: str = "float32"
    note: str = ""

    @property
    def is_symmetric(self) -> bool:
        """True when activations have no zero-point."""
        return self.activations == "int8"

    @property
    def levels(self) -> int:
        """Steps between the smallest and the largest quantised activation."""
        return 254 if self.is_symmetric else 255

    @property
    def is_half(self) -> bool:
        """True when scales are to be exact in FP16."""
        return self.scale_dtype == "float16"

    def careful(self, note: str) -> Dialect:
        """Return the dialect that is right on every CPU of its kind, and say why it is."""
        return replace(self, weight_limit=_REDUCED_LIMIT, note=note)

    def typed(self) -> Dialect:
        """Return the dialect of TensorRT from 10 on, where the types in the graph decide."""
        return replace(self, compute=COMPUTE, left_out="", scale_dtype="float16")


_DIALECTS = {
    "onnxruntime": Dialect(
        "onnxruntime",
        "uint8",
        compute=COMPUTE - {"ConvTranspose"},
        left_out="onnxruntime has no INT8 kernel for it",
        light=frozenset(
            {"Add", "AveragePool", "Concat", "GlobalAveragePool", "LeakyRelu", "Mul", "Sigmoid"}
        ),
        through=THROUGH,
        outputs=True,
        floats=frozenset({"Gemm", "MatMul"}),
        biases=True,
    ),
    "openvino": Dialect("openvino", "uint8", compute=COMPUTE, left_out=""),
    "tensorrt": Dialect(
        "tensorrt",
        "int8",
        # Seen with 8.6.0 on an H200: "Assertion engine failed" where a MaxPool, a ConvTranspose and
        # a Conv in INT8 follow one another, or a Concat stands before that Conv, as in any UNet; by
        # itself between floats the ConvTranspose builds and is right.
        compute=COMPUTE - {"ConvTranspose"},
        left_out="TensorRT 8 can't build it in INT8 between others in INT8",
        # What is read by a pool and by another INT8 node is then counted once, and the convolution
        # before it gives INT8. On an H200 (8.6.0) the UNet's engine is 1.20 times as fast by it.
        through=frozenset({"MaxPool"}),
        # NVIDIA's advice. By this the same engine was 1.008 times as fast, with the same error.
        joins=True,
        stored=False,
        # Early versions of 8 read scales of transposed convolutions along axis 0, where ONNX has
        # the input channels (github.com/NVIDIA/TensorRT issues 1694 and 2380); 8.6.0 was seen to
        # read axis 1, rightly. One scale is right on all of them.
        whole=frozenset({"ConvTranspose"}),
    ),
}


def dialect_for(backend: str, features: frozenset[str] | None = None) -> Dialect:
    """Return a backend's dialect.

    Args:
        backend: its name.
        features: of the CPU that will run it, in Linux's names; None where it isn't known or isn't
            a CPU.

    Raises:
        UnavailableError: the backend has no INT8 here.
    """
    found = _DIALECTS.get(backend)
    if found is None:
        raise UnavailableError(
            f"{backend} can't be built for precision int8 here",
            where="--precision",
            remedy=f"choose one of the targets {', '.join(_DIALECTS)}",
        )
    x86 = features is not None and "sse2" in features
    vnni = features is not None and bool({"avx512_vnni", "avx_vnni", "amx_int8"} & features)
    if backend == "tensorrt" or not x86 or vnni:
        return found
    return replace(found, weight_limit=_REDUCED_LIMIT)
