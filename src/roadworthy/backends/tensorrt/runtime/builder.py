"""From an ONNX model to a plan."""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Tuple

from .adopt import adopt
from .config import add_profiles, check_precision, configure, network_flags, set_precision
from .cuda import cuda_here
from .device import device_index, select_device
from .library import import_tensorrt
from .log import Lines, make_log
from .plan import LAYERS, PLAN, layers_of
from .progress import Heartbeat, attach_monitor
from .proof import prove

TIMING_CACHE = "timing.cache"


def build(
    files: Dict[str, bytes], spec: Dict[str, Any], say: Callable[[str], None]
) -> Dict[str, Any]:
    """Compile an ONNX model (the first file) to a plan; or, with spec["task"] "adopt", read one.

    spec: precision "fp32" | "tf32" | "fp16" | "bf16"; device; typing "weak" | "strong";
    graph_types [ONNX element types in the graph]; profiles [{input: [min, opt, max]}];
    values {shape input: [min, opt, max]}; nodes [[name, op type]] of the main graph; workspace
    (bytes or None); level; tactics [names]; aux_streams; compatibility; timing_cache (bytes or
    None); weight_bytes.

    Returns:
        files {engine.plan, layers.json, timing.cache}, log, proof.
    """
    trt, cuda = import_tensorrt(), cuda_here()
    select_device(cuda, device_index(spec.get("device")))
    if spec.get("task") == "adopt":
        return adopt(trt, next(iter(files.values())))
    check_precision(trt, spec)
    with Heartbeat(say) as beat:
        lines, start = Lines(), time.monotonic()
        plan, timing = _try_build(trt, files, spec, lines, beat)
        if plan is None and spec.get("timing_cache"):
            # A cache of one build may be refused by the next ("Myelin error from unknown graph").
            first = lines.reason("no reason given")
            lines = Lines()
            lines.add("W", "built again without the timing cache, because: %s" % first)
            plan, timing = _try_build(trt, files, dict(spec, timing_cache=None), lines, beat)
        if plan is None:
            raise RuntimeError(
                "TensorRT %s could not build this model: %s"
                % (trt.__version__, lines.reason("it gave no reason"))
            )
        seconds = time.monotonic() - start
        beat.enter("inspecting")
        layers = layers_of(trt, plan)
    proof = prove(layers, spec, len(plan))
    proof.update(seconds=round(seconds, 3), version=trt.__version__, plan_bytes=len(plan))
    built = {PLAN: plan, LAYERS: json.dumps(layers).encode("utf-8")}
    if timing:
        built[TIMING_CACHE] = timing
    return {"files": built, "log": lines.all, "proof": proof}


def _try_build(
    trt: Any, files: Dict[str, bytes], spec: Dict[str, Any], lines: Lines, beat: Heartbeat
) -> Tuple[Optional[bytes], Optional[bytes]]:
    """Return plan and timing cache, or (None, None) with the reason in `lines`."""
    log = make_log(trt, lines)
    trt.init_libnvinfer_plugins(log, "")
    builder = trt.Builder(log)
    network = builder.create_network(network_flags(trt, spec))
    config = builder.create_builder_config()
    beat.enter("parsing")
    parser = trt.OnnxParser(network, log)
    _parse(parser, files, spec, lines)
    if not network.num_outputs:
        raise RuntimeError("the network has no outputs after parsing")
    configure(trt, config, spec)
    set_precision(trt, config, spec)
    add_profiles(builder, network, config, spec)
    cache = set_timing_cache(config, spec.get("timing_cache"), lines)
    monitor = attach_monitor(trt, config, beat)
    beat.enter("building")
    memory = builder.build_serialized_network(network, config)
    del monitor
    if memory is None:
        return None, None
    timing = bytes(cache.serialize()) if cache is not None else None
    return bytes(memory), timing


def _parse(parser: Any, files: Dict[str, bytes], spec: Dict[str, Any], lines: Lines) -> None:
    """Parse, or raise RuntimeError naming every node that TensorRT refused."""
    names = list(files)
    if len(names) == 1:
        parsed = parser.parse(files[names[0]])
    else:
        with tempfile.TemporaryDirectory(prefix="roadworthy-") as folder:
            for name, content in files.items():
                Path(folder, name).write_bytes(content)
            parsed = parser.parse_from_file(str(Path(folder, names[0])))
    if parsed and not parser.num_errors:
        return
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    told = list(OrderedDict.fromkeys(parser_error(error, spec) for error in errors))
    raise RuntimeError(
        "TensorRT can't take this model: %s"
        % ("; ".join(told) or lines.reason("its parser gave no reason"))
    )


def parser_error(error: Any, spec: Dict[str, Any]) -> str:
    """Return a parser's error as "node NAME (Op): text"; 8.6 knows only the node's index."""
    text = re.sub(r"\s+", " ", str(error.desc())).strip()
    text = re.sub(r"^Assertion failed: ", "", text) or "no reason given"
    nodes, index = spec.get("nodes") or [], int(error.node())
    name, kind = "", ""
    if hasattr(error, "node_name"):
        name, kind = str(error.node_name()), str(error.node_operator())
    if not name and 0 <= index < len(nodes):
        name, kind = nodes[index]
    if name:
        return "node %r (%s): %s" % (name, kind, text)
    return "node %d: %s" % (index, text) if index >= 0 else text


def set_timing_cache(config: Any, content: Optional[bytes], lines: Lines) -> Any:
    """Use a timing cache, or say why it is left aside and start a new one.

    TensorRT refuses one of another device or version, and 8.6.0 its own on an H200 ("Myelin error
    from unknown graph"): it says so as an error and gives an empty one.
    """
    if content:
        with lines.harmless() as errors:
            cache = config.create_timing_cache(content)
            used = cache is not None and config.set_timing_cache(cache, False)
        if errors or not used:
            why = ": " + lines.told(errors) if errors else ", it is of another device or version"
            lines.add("W", "TensorRT can't use the timing cache of earlier builds%s" % why)
        if used:
            return cache
    cache = config.create_timing_cache(b"")
    if cache is None or not config.set_timing_cache(cache, False):
        return None
    return cache
