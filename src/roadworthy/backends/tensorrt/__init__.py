"""NVIDIA TensorRT: ONNX to a plan, a plan to answers; one code base for 8.6, 10 and 11.

- `compiler.py`: the host half: what is supported, dialect, fingerprint, build cache.
- `runtime/`: the target half: build, run, time, profile. Sent to where the GPU is.
- `options.py`: the options of `--option name=value`, frozen and hashed.
- `lower.py`, `profiles.py`: the ONNX model as a version reads it, and what to build.
- `opset.py`, `newer.py`: down to the opset that it reads; `quirks.py`: what it would read wrongly.
- `fingerprint.py`: what a plan is tied to, checked before it is loaded.
- `cache.py`: built engines by content, timing caches by device and version.
- `plan.py`: an existing `.plan` or `.trt` file as an engine.
"""
