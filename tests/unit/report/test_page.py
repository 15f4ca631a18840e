"""A page shows all the evidence, to anyone, and believes nothing that it is given."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from typing import Any

import pytest

from roadworthy.core.errors import BundleError, UsageError
from roadworthy.core.verdict import Verdict
from roadworthy.report.page import render
from tests.unit.report.made import (
    SIGNATURE,
    Seen,
    as_json,
    case,
    certificate,
    failed,
    failing,
    latency,
    page,
    reduced,
    see,
)

PNG = b"\x89PNG\r\n\x1a\n and the rest"


class TestEverythingIsThere:
    @pytest.mark.parametrize(
        "shown",
        [
            # who judged
            *("onnxruntime:cpu", "FP32", "oracles", "PyTorch 2.13 eager, FP32"),
            *("PyTorch 2.13 eager, FP64", "logits : 2.6e-07", "mask : not known"),
            *("FP64 was run on 4 of the 7 feeds", "evaluator : differs by 3.1e-07 at most"),
            *("on 2 inputs", "Asked yes"),
            # answers
            *("relative L2 up to 2.0e-05", "32·eps·√depth at depth 26", "2.6e-07", "1.3 %"),
            *("4.1e-07", "1.1e-05", "1 − 4.1e-14", "131.7 dB", "no, 88 % differ", "scene-02"),
            *("share of elements that differ up to 1.0e-04", "near-ties", "∞ dB", "scene-00"),
            # cases and self-checks
            *("the samples as given", "as given", "derived", "batch = 3, h = 272", "7 samples"),
            *("strides", "held", "inputs in column order: equal to the last bit"),
            # samples
            *("scenes", "images", "sha256:cc33", "1 × 1 × 256 × 256", "−0.25", "1.5", "0.496"),
            *("0.145", "sample scene-04: input 'image' is all 0.0"),
            # model
            *("unet/model.py:unet", "sha256:aa11", "opset 20, IR version 10", "66", "1,940,851"),
            *("26 arithmetic nodes", "image[batch=1..4,1,h=64..320:16]:float32", "mask[?]:int64"),
            # exporters, passes
            *("torch.onnx (new)", "disagrees", "relative L2 0.5 on scene-01", "11.2 s"),
            *("torch.onnx (old)", "kept", "tidy", "70 → 66", "0.25 s", "slim", "rolled back"),
            *("the signature changed: h", "1.50 s"),
            # latency
            *("38.6 ms", "42.9 ms", "47.3 ms", "38.7 ms", "25.9", "1,234", "96", "63.4 ms"),
            *("1.64×", "1.56× to 1.70×", "16 pairs of blocks", "batch = 1, h = 256"),
            # engine, environment, time, itself
            *("Fingerprint", "1.31.1", "spinning no", "model.onnx", "7.8 MB", "sha256:bb22"),
            *("A Processor", "Memory 25.3 GB", "numpy 2.3.4", "0.56"),
            *("1 min 15 s", "12.5 s", "0.45 s", "Comparing took 5 % of the inference"),
            *("2026-11-20 14:09:58 UTC", "0.1.0", "roadworthy/certificate/1"),
        ],
    )
    def test_a_reader_finds(self, shown: str) -> None:
        assert shown in see(certificate()).text.replace("\u00a0", " ")

    def test_the_contract_is_the_bundles_own(self) -> None:
        assert "batch=1..4 × 1 × h=64..320:16" in see(certificate()).text

    def test_charts_speak_to_those_who_do_not_see_them(self) -> None:
        said = " ".join(str(svg.get("aria-label")) for svg in see(certificate()).named("svg"))
        assert "relative L2 by case. samples: 2.6e-07, 1.3 % of the tolerance" in said
        assert "1.64×, 95 % interval 1.56× to 1.70×" in said

    def test_what_the_build_said_a_long_log_folded(self) -> None:
        few = see(certificate(engine={"log": ["a warning"]}))
        assert "Build said a warning" in few.text
        assert not few.named("details")
        many = see(certificate(engine={"log": [f"line {i}" for i in range(40)]}))
        assert "40 lines" in many.text
        assert "line 39" in many.text
        assert len(many.named("details")) == 1
        assert "Build said" not in see(certificate(engine={"log": []})).text


class TestTheVerdict:
    def test_is_in_words(self) -> None:
        seen = see(certificate())
        assert "VERIFIED" in seen.text
        assert "NOT VERIFIED" not in seen.text

    def test_a_failed_certificate_says_so_and_lists_every_failure(self) -> None:
        made = failed()
        text = see(made).text
        assert "NOT VERIFIED" in text
        assert "Do not use this engine" in text
        assert "What failed: 3" in text
        assert len(made.verdict.failures) == 3
        for line in made.verdict.failures:
            assert line in text

    def test_a_failure_stands_before_all_evidence(self) -> None:
        text = see(failed()).text
        assert text.index("NOT VERIFIED") < text.index("overwritten") < text.index("Judged against")

    def test_a_case_without_an_answer_is_missing_from_no_table(self) -> None:
        assert see(failed()).text.count("NO ANSWER") == 3  # logits: largest; mask: odd, largest

    def test_an_engine_without_any_answer_still_has_its_page(self) -> None:
        silent = case("samples", outputs=(), samples=0, failures=("sample a: no answer",))
        text = see(certificate(passed=False, verdict=Verdict((silent,)))).text
        assert "NOT VERIFIED" in text
        assert "The engine gave no answer that could be judged." in text

    @pytest.mark.parametrize(
        "verdict", [Verdict(()), Verdict((failing("odd"),)), Verdict((case("odd", outputs=()),))]
    )
    def test_a_claim_to_have_passed_is_not_believed(self, verdict: Verdict) -> None:
        text = see(certificate(passed=True, verdict=verdict)).text
        assert "NOT VERIFIED" in text
        assert "claims to have passed, but its evidence says otherwise" in text

    def test_nor_is_an_unexplained_failure_turned_into_a_pass(self) -> None:
        assert "NOT VERIFIED" in see(certificate(passed=False)).text

    def test_labels_are_in_the_verdict_and_explained(self) -> None:
        labels = ("smoke test", "one shape only", "single oracle")
        text = see(certificate(labels=labels)).text
        for label in labels:
            assert 0 < text.index(label) < text.index("Judged against")
        assert "not that it is right on real data" in text

    def test_a_label_takes_the_green_away(self) -> None:
        assert 'class="verdict good"' in page(certificate())
        assert 'class="verdict care"' in page(certificate(labels=("smoke test",)))
        assert 'class="verdict bad"' in page(replace(failed(), labels=("smoke test",)))

    def test_a_smoke_test_is_never_verified_without_saying_so(self) -> None:
        smoke = certificate(labels=("smoke test",))
        assert "VERIFIED AS A SMOKE TEST" in see(smoke).text
        assert "ALL VERIFIED AS A SMOKE TEST" in see(smoke, smoke).text
        assert "SMOKE TEST" not in see(replace(failed(), labels=("smoke test",))).text


class TestWhatMayBeAbsent:
    def test_latency_and_comparison(self) -> None:
        assert "The engine was not timed." in see(certificate(latency=None, comparison=None)).text

    def test_a_comparison_alone(self) -> None:
        text = see(certificate(comparison=None)).text
        assert "Nothing was timed beside it." in text
        assert "38.6 ms" in text

    @pytest.mark.parametrize(
        ("low", "high", "said"),
        [
            (1.01, 1.3, "The engine is faster."),
            (0.98, 1.3, "no difference could be shown"),
            (0.8, 0.99, "The engine is slower."),
        ],
    )
    def test_faster_is_said_only_of_the_whole_interval(
        self, low: float, high: float, said: str
    ) -> None:
        both = certificate().comparison
        assert both is not None
        both = replace(both, ratio=(low + high) / 2, ratio_low=low, ratio_high=high)
        assert said in see(certificate(comparison=both)).text

    def test_what_it_was_chosen_by(self) -> None:
        said = "int8 on onnxruntime is faster than fp32 on onnxruntime: 1.550 times as fast"
        assert f"{said} (95 % interval 1.500 to 1.620)" in see(certificate()).text
        assert "could have shipped" not in see(certificate(choice=())).text

    def test_p99_and_a_steady_warm_up(self) -> None:
        hasty = latency("onnxruntime", 38.6, p99_ms=None, steady=False)
        text = see(certificate(latency=hasty, comparison=None)).text
        assert "p99 is given from 1,000 runs on" in text
        assert "onnxruntime: times never became steady" in text

    def test_fp64_noise_and_the_account(self) -> None:
        blind = replace(certificate().reference, fine=None, noise={"logits": None}, account=None)
        text = see(certificate(reference=blind)).text
        assert "FP64, to know the noise not to be had" in text
        assert "noise floor of the reference" not in text

    def test_keys_that_are_optional(self) -> None:
        data = as_json(certificate())
        del data["latency"], data["comparison"], data["choice"], data["reference"]["notes"]
        seen = Seen(render([data], signature=SIGNATURE, title="t"))
        assert "The engine was not timed." in seen.text

    def test_everything_that_can_be_empty(self) -> None:
        bare = certificate(exports=(), passes=(), engine={}, environment={})
        bare = replace(bare, samples=replace(bare.samples, inputs=(), findings=()))
        bare = replace(bare, verdict=Verdict((case("samples"),)))
        text = see(bare).text
        for shown in ("came as an ONNX file", "No pass was run", "No self-check was made"):
            assert shown in text

    def test_an_engine_on_another_host_was_not_on_the_machine_that_is_described(self) -> None:
        there = "onnxruntime@ssh=me@jetson"
        assert f"the engine ran on {there}" in see(replace(certificate(), target=there)).text
        assert "the engine ran on" not in see(certificate()).text

    def test_numbers_that_are_not_finite(self) -> None:
        wrong = failing("odd")
        metrics = replace(wrong.outputs[0].metrics, relative_l2=float("nan"), mvre=float("inf"))
        wrong = replace(wrong, outputs=(replace(wrong.outputs[0], metrics=metrics),))
        text = see(certificate(passed=False, verdict=Verdict((wrong,)))).text
        assert "NaN" in text
        assert "∞" in text


HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "</style></title><svg onload=alert(1)>",
    "&lt;b&gt; & ' \"",
    "ünïcödé 模型 🚗",
    "a-very-long-name-" * 40,
    "שם הקובץ",
]


def everywhere(value: Any, name: str) -> Any:
    """Return the JSON with every text replaced, and every key that is a name."""
    if isinstance(value, dict):
        return {key: everywhere(item, name) for key, item in value.items()}
    if isinstance(value, list):
        return [everywhere(item, name) for item in value]
    return name if isinstance(value, str) and value != "inf" else value


class TestNamesFromAnywhere:
    @pytest.mark.parametrize("name", HOSTILE)
    def test_are_shown_and_do_nothing(self, name: str) -> None:
        data = as_json(replace(reduced(), labels=("a",)))
        hostile = everywhere(data, name)
        hostile["schema"] = data["schema"]
        for one in hostile["verdict"]["cases"]:
            one["sizes"] = {name: 1}
            for output in one["outputs"]:
                output["tolerance"]["metric"] = "relative_l2"
        hostile["reference"]["noise"] = {name: None}
        hostile["engine"] = {name: {name: [name]}, "files": {name: 3}, "log": [name] * 9}
        hostile["engine"]["proof"] = {"layers": {name: 1, "int8": 2}, "macs": {"int8": 1, name: 3}}
        hostile["engine"]["proof"] |= {"findings": [name], "notes": [name], name: name}
        hostile["lowering"]["nodes"] = {name: 3}
        for key, found in (("skipped", name), ("dead_channels", 2), ("saturation", 0.5)):
            hostile["lowering"]["calibration"][key] = {name: found}
        hostile["lowering"]["calibration"]["ranges"] = {name: [-1.0, 2.0]} | {
            f"{name}{index}": [0.0, 1.0] for index in range(20)
        }
        for score in hostile["lowering"]["scores"]:
            score["outputs"] = {name: 1.0, name + "2": 2.0}
        hostile["environment"] = {name: name}
        hostile["verdict"]["seconds"] = {name: 1.0}
        written = render(
            [hostile, hostile], signature=SIGNATURE, title=name, pictures=[(name, PNG)]
        )
        seen, honest = Seen(written), see(reduced(), certificate(), pictures=[("a", PNG)])
        assert seen.problems == []
        assert " ".join(name.split()) in seen.text
        assert {tag for tag, _ in seen.elements} == {tag for tag, _ in honest.elements}
        assert not [key for _, attributes in seen.elements for key in attributes if key[:2] == "on"]

    def test_keep_their_direction_to_themselves(self) -> None:
        assert "<bdi>שם</bdi>" in page(certificate(target="שם"))

    @pytest.mark.parametrize("hidden", ["\x00", "\u202e", "\udcff", "\u200b", "\x1b"])
    def test_hide_nothing(self, hidden: str) -> None:
        data = {**as_json(certificate()), "target": f"onnx{hidden}runtime"}
        written = render([data], signature=SIGNATURE, title=f"a{hidden}b")
        assert hidden not in written
        assert f"onnx⟨U+{ord(hidden):04X}⟩runtime" in written
        written.encode("utf-8")


class TestThePageItself:
    def test_needs_nothing_from_anywhere(self) -> None:
        seen = see(certificate(), reduced(), failed(), pictures=[("a", PNG)])
        assert not seen.named("script") + seen.named("link") + seen.named("iframe")
        for _, attributes in seen.elements:
            for key in ("src", "href"):
                assert re.match(
                    r"data:image/png;base64,|#target-\d+$", attributes.get(key) or "#target-1"
                )
        style = re.search(r"<style>(.*?)</style>", page(certificate()), re.DOTALL)
        assert style is not None
        assert not re.search(r"url\(|@import|http", style[1])

    def test_is_the_same_each_time(self) -> None:
        assert page(certificate(), failed()) == page(certificate(), failed())

    def test_prefers_dark_where_the_reader_does_and_prints_light(self) -> None:
        written = page(certificate())
        assert "@media (prefers-color-scheme: dark)" in written
        assert "@media print { :root" in written

    def test_embeds_pictures(self) -> None:
        (image,) = see(certificate(), pictures=[("masks of scene-01", PNG)]).named("img")
        assert image["alt"] == "masks of scene-01"
        assert image["src"] == "data:image/png;base64," + base64.b64encode(PNG).decode()

    def test_several_targets_begin_with_a_summary(self) -> None:
        bad = replace(failed(), target="onnxruntime:cuda")
        seen = see(certificate(), bad)
        head = seen.text[: seen.text.index("Inputs and outputs")]
        assert "NOT ALL VERIFIED" in head
        assert "1 of 2 targets verified. Not verified: onnxruntime:cuda" in head
        assert "1,705×" in head
        assert 'class="verdict bad"' in page(certificate(), bad).partition("<article")[0]
        links = [link["href"] for link in seen.named("a")]
        assert links == ["#target-1", "#target-2"]
        places = [article["id"] for article in seen.named("article")]
        assert places == ["target-1", "target-2"]

    def test_all_targets_verified(self) -> None:
        assert "ALL VERIFIED" in see(certificate(), certificate(target="openvino")).text


class TestRefusals:
    def test_no_certificate_proves_nothing(self) -> None:
        with pytest.raises(UsageError, match="no certificate"):
            render([], signature=SIGNATURE, title="t")

    def test_another_schema(self) -> None:
        with pytest.raises(BundleError, match="certificate/9"):
            page(certificate(schema="roadworthy/certificate/9"))

    def test_a_picture_that_is_no_png(self) -> None:
        with pytest.raises(UsageError, match="PNG") as caught:
            page(certificate(), pictures=[("a photograph", b"\xff\xd8\xff")])
        assert caught.value.where == "a photograph"
