"""ONNX files from anywhere are a first-class source: checked, then judged by two oracles."""
