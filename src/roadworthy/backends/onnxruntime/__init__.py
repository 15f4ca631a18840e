"""ONNX Runtime.

Its newer builds keep a telemetry store in the user's home unless told not to before they are
imported; an engine on somebody's robot has no business doing that. Set the variable to 0 yourself
to allow it.
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
