"""TVM: ONNX to one shared library, its loop nests scheduled by rule and tuned on request.

Builds and runs always happen in a worker process: TVM checks much of its work by aborting.
"""
