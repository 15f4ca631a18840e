"""OpenVINO: the CPU's other engine, and the second opinion on bare ONNX files.

`import openvino` by itself tells Google Analytics that it was imported, and keeps a client number
in the user's home (`~/intel/openvino_ga_cid`). There is no environment variable against that, so
`runtime/library.py` imports it without its telemetry package; nothing here imports it otherwise.
"""
