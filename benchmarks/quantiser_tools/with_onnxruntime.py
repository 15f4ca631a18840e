"""ONNX Runtime's quantiser, as its page recommends for x86: pre-process, QDQ, U8S8, per channel.

Method "none" only runs the FP32 network on every sample: the memory that nobody can go below.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import common
import onnxruntime as ort
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quant_pre_process,
    quantize_static,
)

METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}


def main() -> None:
    """Quantise, or only run."""
    asked = common.arguments((*METHODS, "none"))
    files = common.sample_files(asked.samples, asked.count)
    report = common.Report("onnxruntime", "onnx")
    reader = common.Reader(files, asked.input)
    if asked.method == "none":
        options = ort.SessionOptions()
        options.intra_op_num_threads = asked.threads or 0
        session = ort.InferenceSession(asked.model, options, providers=["CPUExecutionProvider"])
        while (feed := reader.get_next()) is not None:
            session.run(None, feed)
    else:
        CalibrationDataReader.register(common.Reader)
        with TemporaryDirectory() as folder:
            prepared = Path(folder) / "prepared.onnx"
            quant_pre_process(asked.model, prepared)
            quantize_static(
                prepared,
                asked.out,
                reader,
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=METHODS[asked.method],
            )
    report.write(asked.report)


if __name__ == "__main__":
    main()
