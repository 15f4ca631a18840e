"""The parts of `tensorrt_h200.py`, one file each."""
