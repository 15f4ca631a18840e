"""The text that goes with an extracted bundle: how to call the model from another program."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from roadworthy.bundle.reader import Bundle

_TEMPLATE = """\
A network and its contract, taken from a roadworthy bundle.

{model:<16}  the network, ONNX
contract.json     inputs, outputs, preprocessing, class names, and how it was verified
{preprocess}\
certificates/     everything that was measured, one file per engine; .log: all its build said
sample/           one input and the reference answers to it

Inputs (name[shape]:dtype; an axis with a name may vary within the range stated)
{inputs}
Outputs
{outputs}
Preprocessing: {preprocessing}

Call it, for instance with ONNX Runtime in Python, from this folder:

    import json
    import numpy as np
    import onnxruntime as ort

    contract = json.load(open("contract.json", encoding="utf-8"))
    session = ort.InferenceSession({model_literal}, providers=["CPUExecutionProvider"])
    feed = {{name: np.load(file) for name, file in contract["sample"]["feed"].items()}}
    names = [output["name"] for output in contract["signature"]["outputs"]]
    answers = dict(zip(names, session.run(names, feed)))

Compare the answers with sample/answers, by the tolerances in contract.json ("verification").
{dtypes}\
Verified:
{verified}
"""

_DTYPES = """\
Arrays of dtypes that NumPy doesn't know (bfloat16, float8, int4) hold the bits as unsigned
integers: array.view(ml_dtypes.bfloat16) gives the numbers.
"""


def readme(bundle: Bundle, contract: Mapping[str, Any]) -> str:
    """Return the text of `README.txt` for a bundle and its contract."""
    from roadworthy.bundle.arrays import EXTENDED

    signature = bundle.signature
    extended = any(spec.dtype in EXTENDED for spec in signature)
    preprocess = contract["preprocess"] is not None
    return _TEMPLATE.format(
        model=contract["model"][0],
        model_literal=json.dumps(contract["model"][0]),
        preprocess="preprocess.json   what is done to an image first\n" if preprocess else "",
        preprocessing="see preprocess.json" if preprocess else "none; give arrays as stated above",
        inputs="".join(f"  {spec}\n" for spec in signature.inputs),
        outputs="".join(f"  {spec}\n" for spec in signature.outputs),
        dtypes=_DTYPES if extended else "",
        verified="\n".join(_verified(item) for item in contract["verification"]),
    )


def _verified(item: Mapping[str, Any]) -> str:
    verdict = "passed" if item["passed"] else "FAILED"
    judge, samples = item["reference"]["judge"], item["samples"]["count"]
    return (
        f"  {item['target']}, {item['precision']}: {verdict}, against {judge}, samples: {samples}"
    )
