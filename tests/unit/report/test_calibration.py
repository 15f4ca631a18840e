"""A page says what calibrated an engine, what is wrong with it, and what every tensor held."""

from __future__ import annotations

from typing import Any

import pytest

from roadworthy.core.certificate import Certificate
from tests.unit.report.made import (
    LOWERING,
    certificate,
    of_before,
    ranges,
    reduced,
    see,
)


def words(made: Certificate, heading: str = "Calibration") -> str:
    """Return this part alone."""
    text = see(made).text
    start = text.index(f" {heading} ", text.index("Precision Asked for"))
    return text[start : text.index(" Samples From ", start)].replace(" .", ".")


def changed(**changes: Any) -> Certificate:
    return reduced(calibration=ranges(**changes))


class TestWhatCalibrated:
    def test_is_a_sentence(self) -> None:
        said = (
            " Calibration 14 samples were run to calibrate; mse chose the ranges of 30 tensors "
            "from what they held. 2 more were held back to compare the methods and to tell "
            "whether correcting biases pays."
        )
        assert words(reduced()).startswith(said)

    def test_and_where_it_comes_from(self) -> None:
        assert words(reduced()).endswith(
            "Samples from photographs Digest of all given sha256:ff66 Digest of those run "
            "sha256:ee55 Held back by position: in another order other samples are held back "
            "Took 2.15 s"
        )

    def test_the_samples_that_judge_are_called_that(self) -> None:
        said = words(changed(source="samples", data_set="sha256:cc33", count=5))
        assert "5 of the 7 samples that judge the answers were run to calibrate" in said
        assert "Samples from scenes Digest of all given sha256:cc33" in said

    def test_where_none_were_held_back_nothing_is_said_of_it(self) -> None:
        made = reduced(calibration=ranges(data_set="sha256:ee55"), scores=[], held_back=4)
        said = words(made)
        assert "held back" not in said.lower()
        assert "An outlier counts for the ranges." in said
        assert "Digest of those run" not in said

    def test_the_method_was_given_and_one_sample_told_of_biases(self) -> None:
        said = words(reduced(scores=[], held_back=1, notes=["weights are halved"]))
        assert "1 more was held back to tell whether correcting biases pays." in said
        assert "Notes weights are halved" in said

    def test_a_certificate_of_before_still_has_its_page(self) -> None:
        made = certificate(precision="int8", lowering=of_before())
        said = words(made)
        assert "14 samples were run to calibrate; mse chose the ranges of 30 tensors" in said
        assert "2 more were held back" in said
        for absent in ("Samples from", "Digest of all", "ranges Tensor", "Widest"):
            assert absent not in said
        assert not [e for e in see(made).named("div") if e.get("class") == "profile"]

    def test_types_in_the_graph_clip_nothing_and_are_chosen_by_no_method(self) -> None:
        halves = ranges(method="ranges")
        del halves["saturation"]
        lowering = {**LOWERING, "precision": "fp16", "dialect": "", "calibration": halves}
        for key in ("scores", "held_back", "split", "bias_correction", "notes"):
            del lowering[key]
        said = words(certificate(precision="fp16", lowering=lowering), "Ranges")
        assert "14 samples were run, and what 30 tensors held tells what FP16 can hold." in said
        assert "Clipped" not in said
        assert "relu_3 0 to 7.8" in said

    def test_fp32_was_calibrated_by_nothing(self) -> None:
        text = see(certificate()).text
        assert "Calibration" not in text
        assert "calibrate" not in text


class TestWarnings:
    @pytest.mark.parametrize(
        "shown",
        [
            "Left out scene-03: input 'image' has 3 NaN or infinite values Findings",
            "Findings sample scene-05: an outlier, tensor 'relu' reaches 33.1",
            "An outlier counts for the ranges, and is never held back.",
            "Dead channels 12 channels of 2 tensors never changed 11 channels of relu_9 "
            "1 channel of relu_3",
            "Values of 2 tensors lie beyond the range: 1.2 % of cat_2 10.2 in a million of relu",
        ],
    )
    def test_are_told(self, shown: str) -> None:
        assert shown in words(reduced())

    def test_stand_before_the_ranges_and_where_they_come_from(self) -> None:
        said = words(reduced())
        places = [
            said.index(one) for one in ("Left out", "Findings", "Dead", "Widest", "Samples f")
        ]
        assert places == sorted(places)

    def test_only_a_share_that_matters_is_marked(self) -> None:
        marked = [e for e in see(reduced()).named("rect") if e.get("class") == "range marked"]
        assert len(marked) == 2  # cat_2 and the legend's
        slight = see(changed(saturation={"relu": 1e-5}))
        assert not [e for e in slight.named("rect") if e.get("class") == "range marked"]
        assert "or more are clipped" not in slight.text

    def test_only_the_worst_of_many_clipped_tensors_are_named(self) -> None:
        said = words(changed(saturation={f"t{i:02}": i / 1000 for i in range(1, 31)}))
        assert "Values of 30 tensors lie beyond the range, the worst 5 are: 3 % of t30" in said
        assert "t26" in said
        assert "t25" not in said

    def test_of_many_samples_left_out_and_many_findings_the_first_are_in_sight(self) -> None:
        skipped = {f"scene-{i}": "NaN" for i in range(9)}
        findings = [f"tensor 'r{i}': zero on every sample" for i in range(7)]
        said = words(changed(skipped=skipped, findings=findings))
        assert "Left out scene-0: NaN scene-1: NaN 7 more scene-2: NaN" in said
        zero = "zero on every sample"
        assert f"Findings tensor 'r0': {zero} tensor 'r1': {zero} 5 more tensor 'r2'" in said

    def test_nothing_to_report_is_said(self) -> None:
        clean = changed(skipped={}, dead_channels={}, findings=[], saturation={})
        assert "Findings nothing suspicious Clipped none" in words(clean)
        assert "Left out" not in words(clean)
        assert "nothing suspicious Clipped" not in words(
            changed(skipped={}, dead_channels={}, findings=[])
        )


class TestRanges:
    def test_are_those_of_the_certificate_in_its_order(self) -> None:
        said = words(reduced())
        rows = (
            "Tensor Range Clipped Dead channels relu 0 to 33.1 < 0.01 % "
            "cat_2 −6.44 to 11.5 1.2 % relu_3 0 to 7.8 1 relu_9 always 0 11"
        )
        assert rows in said

    def test_columns_of_nothing_are_left_out(self) -> None:
        said = words(changed(saturation={}, dead_channels={}))
        assert "Tensor Range relu 0 to 33.1 cat_2" in said

    def test_the_widest_are_named(self) -> None:
        assert "Widest: relu (0 to 33.1), cat_2 (−6.44 to 11.5), relu_3 (0 to 7.8)." in words(
            reduced()
        ).replace(" (", " (").replace(" ,", ",")

    def test_few_are_shown_and_many_folded(self) -> None:
        folds = len(see(reduced()).named("details"))
        many = changed(ranges={f"t{i}": [0.0, 1.0 + i] for i in range(1234)})
        assert len(see(many).named("details")) == folds + 1
        assert "All 1,234 ranges Tensor Range" in words(many)

    def test_a_tensor_far_larger_bends_the_axis_and_that_is_said(self) -> None:
        spans = {f"t{i}": [0.0, 2.0] for i in range(9)} | {"wild": [-9000.0, 0.0]}
        assert "The axis is logarithmic from about 2 on." in words(changed(ranges=spans))
        assert "logarithmic from" not in words(reduced())

    @pytest.mark.parametrize(
        "span", [["nan", 1.0], ["-inf", "inf"], [5.0, -5.0], [0, 0], [-1e308, 1e308], [0, 5e-324]]
    )
    def test_numbers_that_no_calibration_writes_break_no_page(self, span: list[Any]) -> None:
        see(changed(ranges={"a": span}))
        assert "Tensor Range" in words(changed(ranges={"a": span, "b": [0.0, 1.0]}))

    def test_names_are_a_strangers(self) -> None:
        name = "</title><script>alert(1)</script>"
        made = changed(ranges={name: [0.0, 1.0]}, saturation={name: 0.5}, source=name)
        assert not see(made).named("script")
        # Clipped, the bar's title, the widest, the table; and the source.
        assert see(made).text.count(name) == 5
