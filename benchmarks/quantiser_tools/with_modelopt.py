"""ModelOpt's ONNX part: `quantize` with its defaults, on the CPU, what isn't INT8 left in FP32."""

from __future__ import annotations

import common
from modelopt.onnx.quantization import quantize


def main() -> None:
    """Quantise."""
    asked = common.arguments(("entropy", "max"))
    files = common.sample_files(asked.samples, asked.count)
    report = common.Report("nvidia-modelopt", "onnxruntime", "onnx", "torch")
    quantize(
        str(asked.model),
        quantize_mode="int8",
        calibration_method=asked.method,
        calibration_data_reader=common.Reader(files, asked.input),
        calibration_eps=["cpu"],
        high_precision_dtype="fp32",
        output_path=str(asked.out),
    )
    report.write(asked.report)


if __name__ == "__main__":
    main()
