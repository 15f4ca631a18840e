"""Which tensor runs in which dtype, and why: plan, calibration, lowering.

A `PrecisionPlan` is plain data. It is made by a placement (which nodes go to INT8 or FP16, with a
reason for each one that doesn't) and a calibration (scales from real samples), and lowered to
explicit Q/DQ and casts in the ONNX graph (ADR 0001), in the dialect of the backend.
"""
