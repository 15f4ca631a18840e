"""ONNX Runtime: the embedded default, on every machine."""
