"""A session of ONNX Runtime with stated options, on the provider that was asked for."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any, Callable, List, Mapping, Optional, Union

from .device import CUDA
from .library import ort


def session_options(
    threads: int, optimise: bool, spinning: bool, provider: str
) -> ort.SessionOptions:
    """Return ONNX Runtime's session options for ours; nothing is left to its defaults."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Only fatal lines: every error is raised as well, and said once is enough.
    options.log_severity_level = 4
    options.graph_optimization_level = (
        ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        if optimise
        else ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    )
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    if provider == CUDA:
        # Asked for CUDA: an operator that only the CPU has is an error, not a silent detour.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return options


def keep_graph(options: ort.SessionOptions, path: Path) -> None:
    """Have the session write what it really executes; the weights beside it, to be thrown away."""
    options.optimized_model_filepath = str(path)
    for key, value in (("file_name", path.name + ".weights"), ("min_size_in_bytes", "64")):
        options.add_session_config_entry(
            "session.optimized_model_external_initializers_" + key, value
        )


class Source:
    """An engine's files as ONNX Runtime opens them: its content, or the path beside its weights.

    Weights in a file of their own are kept on the disk as long as this is: the session maps them
    from there, and nobody needs them in memory.
    """

    def __init__(self, files: Mapping[str, bytes]) -> None:
        """Write external data, found by name beside the first file, to a folder of its own."""
        names = list(files)
        self._remove: Optional[Callable[[], Any]] = None
        self.model: Union[bytes, str] = files[names[0]]
        if len(names) > 1:
            folder = tempfile.mkdtemp(prefix="roadworthy-")
            self._remove = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            for name in names:
                Path(folder, name).write_bytes(files[name])
            self.model = str(Path(folder, names[0]))

    def close(self) -> None:
        """Remove what was written; after the sessions, which have it open. May be called twice."""
        if self._remove is not None:
            self._remove()


def open_session(
    source: Source, options: ort.SessionOptions, provider: str
) -> ort.InferenceSession:
    """Open a session on the provider that was asked for, and on no other."""
    providers: List[Any] = [provider]
    if provider == CUDA:
        # FP32 means FP32 here.
        providers = [(provider, {"use_tf32": "0"})]
    session = ort.InferenceSession(source.model, options, providers=providers)
    # Otherwise a provider that fails while running is replaced by another in silence.
    session.disable_fallback()
    got = session.get_providers()
    if got[0] != provider:
        raise RuntimeError("asked for %s, but the session runs on %s" % (provider, ", ".join(got)))
    return session
