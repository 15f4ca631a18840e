"""A page says what was asked, what runs, what was planned, and where the ranges come from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from roadworthy.core.certificate import Certificate
from roadworthy.core.errors import BundleError
from tests.unit.report.made import (
    LOWERING,
    PROOF,
    certificate,
    ranges,
    reduced,
    see,
)


def words(made: Certificate) -> str:
    """Return the section alone."""
    text = see(made).text
    _, found, rest = text.partition("Precision Asked for")
    return rest[: rest.index(" Samples From ")] if found else ""


class TestWhatRuns:
    @pytest.mark.parametrize(
        "shown",
        [
            "INT8 Runs in int8 92 % of MACs (38 layers), fp32 6 % (4), unknown 2 %",
            "Less than planned 1 of 39 nodes planned in int8 run in fp32: conv2, 3 % of all MACs",
            "Notes the engine doesn't name 2 nodes",
        ],
    )
    def test_is_told_with_what_is_less_than_planned(self, shown: str) -> None:
        assert shown in words(reduced())

    def test_every_single_node_is_for_the_json(self) -> None:
        assert "conv1" not in see(reduced()).text

    def test_the_rest_of_the_proof_is_the_engines(self) -> None:
        text = see(reduced()).text
        assert "Proof provider CPUExecutionProvider" in text
        assert text.count("of all MACs") == 1

    def test_a_bar_holds_the_shares_of_the_work(self) -> None:
        bars = [e for e in see(reduced()).named("rect") if "share" in str(e["class"])]
        drawn = [(e["class"], e["x"], e["width"]) for e in bars if "%" in str(e["width"])]
        assert drawn == [
            ("share narrow", "0.00%", "92.00%"),
            ("share full", "92.00%", "6.00%"),
            ("share unknown", "98.00%", "2.00%"),
        ]
        labels = [e.get("aria-label") for e in see(reduced()).named("svg")]
        assert "multiply-accumulates: int8 92 %, fp32 6 %, unknown 2 %" in labels

    def test_one_dtype_alone_needs_no_bar(self) -> None:
        made = certificate(engine={"proof": {"layers": {"fp32": 9}, "macs": {"fp32": 1.0}}})
        assert "fp32 100 % of MACs (9 layers)" in words(made)
        assert not [e for e in see(made).named("rect") if "share" in str(e["class"])]

    def test_without_a_lowering_there_is_nothing_else(self) -> None:
        said = words(certificate(engine={"proof": PROOF}))
        assert "int8 92 %" in said
        for absent in ("Plan", "Exceptions", "Methods compared", "Calibration", "Ranges"):
            assert absent not in said

    def test_an_engine_that_tells_nothing_has_no_section(self) -> None:
        assert words(certificate()) == ""

    @pytest.mark.parametrize(
        "proof",
        [
            ["int8"],
            {"layers": 3, "findings": "x", "notes": None},
            {"macs": {"int8": "inf", "fp32": -1, "other": 0.0}},
            {"layers": {"int8": 1}, "macs": {"int8": "nan", "fp32": 0.5}},
        ],
    )
    def test_a_proof_of_another_form_breaks_no_page(self, proof: Any) -> None:
        see(certificate(engine={"proof": proof}))


class TestThePlan:
    @pytest.mark.parametrize(
        ("nodes", "dialect", "said"),
        [
            (
                {"fp32": 3, "int8": 42},
                "onnxruntime",
                "Of 45 nodes that compute, 42 were planned in INT8 and 3 in FP32, "
                "by the rules for onnxruntime .",
            ),
            (
                {"int8": 1},
                "openvino",
                "Of 1 node that computes, 1 was planned in INT8, by the rules for openvino .",
            ),
            (
                {"fp32": 7, "int8": 5, "fp16": 9},
                "",
                "Of 21 nodes that compute, 5 were planned in INT8, 9 in FP16 and 7 in FP32, "
                "written into the graph as types.",
            ),
            ({}, "openvino", "No node computes."),
        ],
    )
    def test_is_a_sentence_that_begins_with_what_was_asked(
        self, nodes: dict[str, int], dialect: str, said: str
    ) -> None:
        assert said in words(reduced(nodes=nodes, dialect=dialect))

    def test_exceptions_are_grouped_by_reason_with_their_nodes_folded(self) -> None:
        said = words(reduced())
        most = "2 nodes in FP32: no INT8 kernel up_1 ( ConvTranspose ), up_2 ( ConvTranspose )"
        least = "1 node in FP32: first layer conv_in ( Conv )"
        assert 0 < said.index(most) < said.index(least)
        assert len(see(reduced()).named("details")) == 2

    def test_a_plan_without_exceptions_says_so(self) -> None:
        assert "Exceptions none" in words(reduced(exceptions=[]))


class TestTheMethods:
    def test_are_a_table_that_marks_the_chosen_one(self) -> None:
        said = words(reduced())
        assert "entropy 39.8 dB logits : 39.8 dB mask : 99 % equal –" in said
        assert "mse 39.7 dB logits : 39.7 dB mask : 98 % equal chosen" in said
        assert "On 2 samples that the calibration hadn't seen." in said

    def test_a_single_output_is_the_columns_name(self) -> None:
        scores = [{"method": "mse", "sqnr_db": "inf", "outputs": {"logits": "inf"}}]
        said = words(reduced(scores=scores))
        assert "Output logits" in said
        assert "mse ∞ dB chosen" in said

    def test_labels_alone_are_compared_by_what_is_equal(self) -> None:
        scores = [{"method": "mse", "sqnr_db": 0.25, "outputs": {"mask": 0.25}}]
        assert "mse 25 % equal chosen" in words(reduced(scores=scores))

    def test_a_comparison_on_the_calibrations_own_samples_isnt_called_unseen(self) -> None:
        same = ranges(data_set="sha256:ee55")
        note = "2 samples: compared on what they were calibrated on"
        said = words(reduced(notes=[note], calibration=same))
        assert note in said
        assert "hadn't seen" not in said
        assert "held back" not in said

    def test_a_method_that_was_given_was_compared_with_none(self) -> None:
        said = words(reduced(scores=[], held_back=0))
        assert "Methods compared" not in said
        assert "mse chose the ranges" in said
        assert "held back" not in said


class TestBiases:
    def test_kept_where_it_paid(self) -> None:
        said = words(reduced())
        assert "Biases corrected for the mean error of 17 nodes: 39.6 dB instead of 37.6 dB" in said

    def test_left_where_it_did_not(self) -> None:
        trial = {"nodes": 1, "without_db": 37.6, "with_db": 30.0, "kept": False}
        said = words(reduced(bias_correction=trial))
        assert "Biases left as they are: corrected for the mean error of 1 node it was 30" in said

    def test_of_labels_alone_it_is_a_share(self) -> None:
        trial = {"nodes": 1, "without_db": 0.5, "with_db": 0.75, "kept": True}
        made = reduced(bias_correction=trial)
        labels = tuple(
            replace(one, outputs=tuple(o for o in one.outputs if o.name == "mask"))
            for one in made.verdict.cases
        )
        said = words(replace(made, verdict=replace(made.verdict, cases=labels)))
        assert "75 % equal instead of 50 % equal" in said

    @pytest.mark.parametrize("without", [None, "absent"])
    def test_nothing_is_said_where_there_was_nothing_to_try(self, without) -> None:
        lowering = {**LOWERING, "bias_correction": None}
        if without == "absent":
            del lowering["bias_correction"]
        assert "Biases" not in words(certificate(precision="int8", lowering=lowering))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"nodes": {"int8": "many"}}, "lowering.nodes.int8"),
        ({"exceptions": [{"node": "a"}]}, r"lowering.exceptions\[0\].op_type"),
        ({"calibration": {}}, "lowering.calibration.method"),
        ({"calibration": ranges(ranges={"a": [1.0]})}, "lowering.calibration.ranges.a"),
        ({"calibration": ranges(ranges={"a": [0.0, "much"]})}, r"ranges.a\[1\]"),
        ({"calibration": ranges(ranges=[[0.0, 1.0]])}, "lowering.calibration.ranges"),
        ({"scores": [{"method": "mse", "sqnr_db": None, "outputs": {}}]}, "sqnr_db"),
    ],
)
def test_a_damaged_account_is_refused_by_name(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(BundleError, match=field):
        see(reduced(**changes))
