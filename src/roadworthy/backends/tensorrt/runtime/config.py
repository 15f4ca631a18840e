"""What a build is told: network flags, precision by the version's dialect, tactics, profiles."""

from __future__ import annotations

from typing import Any, Dict

from .library import named, version_of
from .plan import known_sizes


def is_strong(trt: Any, spec: Dict[str, Any]) -> bool:
    """Tell whether the graph's own types decide: always from 11 on, on wish in 10."""
    major = version_of(trt)[0]
    return major >= 11 or (major == 10 and spec.get("typing") == "strong")


def check_precision(trt: Any, spec: Dict[str, Any]) -> None:
    """Raise RuntimeError for a precision that this version can't give this graph."""
    precision, types = spec["precision"], spec.get("graph_types", ())
    if precision == "int8" and not spec.get("quantized"):
        raise RuntimeError("int8 was asked for, but the graph has no QuantizeLinear that states it")
    if is_strong(trt, spec):
        wanted = {"fp16": "float16", "bf16": "bfloat16"}.get(precision)
        if wanted and wanted not in types:
            raise RuntimeError(
                "TensorRT %s computes in the types that the graph states, and this graph has no "
                "%s tensor: %s can't be had from it; lower the graph to %s first, or use "
                "TensorRT 8.6 or 10" % (trt.__version__, wanted, precision, wanted)
            )
    elif precision == "bf16" and version_of(trt) < (9, 0):
        raise RuntimeError(
            "TensorRT %s has no bf16; use 9 or later, or fp16, or tf32" % trt.__version__
        )


def network_flags(trt: Any, spec: Dict[str, Any]) -> int:
    """Return the flags of the network definition, which depend on the version."""
    flag = trt.NetworkDefinitionCreationFlag
    major = version_of(trt)[0]
    if major < 10:
        return 1 << int(flag.EXPLICIT_BATCH)
    if major == 10 and is_strong(trt, spec):
        return 1 << int(flag.STRONGLY_TYPED)
    return 0


def configure(trt: Any, config: Any, spec: Dict[str, Any]) -> None:
    """Set everything that isn't precision or shape."""
    if spec.get("workspace"):
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, int(spec["workspace"]))
    if spec.get("level") is not None and hasattr(config, "builder_optimization_level"):
        config.builder_optimization_level = int(spec["level"])
    if spec.get("aux_streams") is not None and hasattr(config, "max_aux_streams"):
        config.max_aux_streams = int(spec["aux_streams"])
    # With less the inspector tells too little to prove a precision by.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    sources = 0
    for name in spec.get("tactics", ("EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS")):
        sources |= 1 << int(named(trt, "TacticSource", name))
    config.set_tactic_sources(sources)
    compatibility = spec.get("compatibility", "none").upper()
    if compatibility != "NONE":
        level = named(trt, "HardwareCompatibilityLevel", compatibility)
        config.hardware_compatibility_level = level
    if hasattr(trt, "PreviewFeature") and version_of(trt)[0] < 10:
        # Several contexts of one session share a profile; the default from 10 on.
        _enable_preview(trt, config, "PROFILE_SHARING_0806")


def _enable_preview(trt: Any, config: Any, name: str) -> None:
    if hasattr(trt.PreviewFeature, name):
        config.set_preview_feature(getattr(trt.PreviewFeature, name), True)


def set_precision(trt: Any, config: Any, spec: Dict[str, Any]) -> None:
    """Set the flags of this version's dialect; TF32, TensorRT's default, only where asked for.

    TF32 has as many mantissa bits as FP16 and more than BF16, so it is fit for what those leave.
    With INT8, FP16 is allowed for what the Q/DQ leave: its error is far below theirs.
    """
    flag, types, precision = trt.BuilderFlag, spec.get("graph_types", ()), spec["precision"]
    if precision == "fp32":
        config.clear_flag(flag.TF32)
    else:
        config.set_flag(flag.TF32)
    if version_of(trt)[0] < 11 and not is_strong(trt, spec):
        if precision in ("fp16", "int8") or "float16" in types:
            config.set_flag(flag.FP16)
        if precision == "bf16" or ("bfloat16" in types and version_of(trt)[0] >= 9):
            config.set_flag(named(trt, "BuilderFlag", "BF16"))
        if precision == "int8" or ("int8" in types and spec.get("quantized")):
            config.set_flag(flag.INT8)


def add_profiles(builder: Any, network: Any, config: Any, spec: Dict[str, Any]) -> None:
    """Add the optimisation profiles; every dynamic input must have its range in each."""
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    values = spec.get("values") or {}
    missing = [item.name for item in inputs if item.is_shape_tensor and item.name not in values]
    if missing:
        raise RuntimeError(
            "the values of input %s decide shapes inside the network, and their range isn't "
            "known; state it with --option 'tensorrt.values=%s:MIN;OPT;MAX'"
            % (", ".join(missing), missing[0])
        )
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    # Sizes that depend on the data make a network dynamic, whatever its inputs: 8.6 can't run an
    # engine of it that has no profile.
    data_dependent = any(min(known_sizes(item.shape) or [-1], default=0) < 0 for item in outputs)
    profiles = spec.get("profiles") or ([{}] if values or data_dependent else [])
    dynamic = [item.name for item in inputs if any(size < 0 for size in tuple(item.shape))]
    if dynamic and not profiles:
        raise RuntimeError("input %s is dynamic, and no range was given" % ", ".join(dynamic))
    for ranges in profiles:
        profile = builder.create_optimization_profile()
        for item in inputs:
            if item.is_shape_tensor:
                profile.set_shape_input(item.name, *[list(value) for value in values[item.name]])
            elif item.name in ranges:
                profile.set_shape(item.name, *[tuple(shape) for shape in ranges[item.name]])
            elif item.name in dynamic:
                raise RuntimeError("input %s has no range in a profile" % item.name)
            else:
                profile.set_shape(item.name, *[tuple(item.shape)] * 3)
        if config.add_optimization_profile(profile) < 0:
            raise RuntimeError("TensorRT refused the optimisation profile %s" % ranges)
