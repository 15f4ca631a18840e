"""NNCF on ONNX: `nncf.quantize` with its defaults, for CPUs; all samples instead of 300."""

from __future__ import annotations

import sys

# NNCF and OpenVINO tell Google Analytics of every call, unless this can't be imported.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

import common  # noqa: E402
import nncf  # noqa: E402
import numpy as np  # noqa: E402
import onnx  # noqa: E402

PRESETS = {
    "performance": nncf.QuantizationPreset.PERFORMANCE,
    "mixed": nncf.QuantizationPreset.MIXED,
}


def main() -> None:
    """Quantise; "default" leaves the preset to NNCF."""
    asked = common.arguments(("default", *PRESETS))
    files = common.sample_files(asked.samples, asked.count)
    report = common.Report("nncf", "onnxruntime", "onnx")
    dataset = nncf.Dataset(files, lambda file: {asked.input: np.load(file)})
    made = nncf.quantize(
        onnx.load(asked.model),
        dataset,
        preset=PRESETS.get(asked.method),
        target_device=nncf.TargetDevice.CPU,
        subset_size=asked.count,
        model_type=nncf.ModelType.TRANSFORMER if asked.transformer else None,
    )
    onnx.save(made, asked.out)
    report.write(asked.report)


if __name__ == "__main__":
    main()
