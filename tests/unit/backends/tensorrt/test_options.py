"""`--option name=value` for TensorRT, and the optimisation profiles made from them."""

import pytest

from roadworthy.backends.tensorrt.options import AxisRange, TensorRTOptions, parse_options
from roadworthy.backends.tensorrt.profiles import profiles_of, values_of
from roadworthy.core.errors import UsageError
from roadworthy.core.signature import Dim, Signature, TensorSpec


def image(*axes):
    return Signature((TensorSpec("image", "float32", axes),), (TensorSpec("y", "float32", axes),))


VARYING = image(Dim("batch", 1, 8), 3, Dim("h", 64, 256, 32))


def test_nothing_said_is_the_default():
    assert parse_options(()) == TensorRTOptions()


def test_every_option_is_read():
    found = parse_options(
        [
            ("aux-streams", "0"),
            ("build-cache", "off"),
            ("compatibility", "ampere_plus"),
            ("graphs", "off"),
            ("level", "5"),
            ("open", "1..16"),
            ("profile", "batch=1..8@4,h=256..512"),
            ("profile", "batch=9..16"),
            ("tactics", "jit_convolutions, cublas"),
            ("timing-cache", "off"),
            ("typing", "strong"),
            ("values", "sizes:1,1;4,4;8,8"),
            ("workspace", "4096"),
        ]
    )
    assert found.profiles == (
        (AxisRange("batch", 1, 8, 4), AxisRange("h", 256, 512)),
        (AxisRange("batch", 9, 16),),
    )
    assert found.values[0].name == "sizes"
    assert found.values[0].opt == (4, 4)
    assert (found.workspace, found.level, found.aux_streams) == (4096, 5, 0)
    assert (found.build_cache, found.graphs, found.timing_cache) == (False, False, False)
    assert found.tactics == ("cublas", "jit_convolutions")
    assert found.open_axes == (1, 16)


@pytest.mark.parametrize(
    "pair",
    [
        ("wrokspace", "1"),
        ("level", "6"),
        ("level", "²"),
        ("level", "-1"),
        ("workspace", "0"),
        ("graphs", "yes"),
        ("tactics", "cudnnn"),
        ("open", "5..1"),
        ("profile", "batch=8..1"),
        ("profile", "batch=1..8@9"),
        ("profile", "batch=1..2,batch=1..2"),
        ("values", "sizes:1;2"),
        ("values", "sizes:1;2;3,4"),
        ("values", "sizes:4;2;8"),
        ("values", "sizes:1,1;4,9;8,8"),
    ],
    ids="=".join,
)
def test_nonsense_is_refused_with_the_option_named(pair):
    with pytest.raises(UsageError) as caught:
        parse_options([pair])
    assert caught.value.where == f"--option tensorrt.{pair[0]}={pair[1]}"


def test_an_option_given_twice_is_refused():
    with pytest.raises(UsageError, match="twice"):
        parse_options([("level", "1"), ("level", "2")])


def test_the_digest_changes_with_what_decides_the_engine_and_with_nothing_else():
    plain = TensorRTOptions().digest()
    assert parse_options([("graphs", "off"), ("timing-cache", "off")]).digest() == plain
    assert parse_options([("level", "1")]).digest() != plain


def test_a_static_network_needs_no_profile():
    assert profiles_of(image(1, 3, 64), TensorRTOptions()) == []


def test_one_profile_spans_the_signature():
    (profile,) = profiles_of(VARYING, TensorRTOptions())
    assert profile == {"image": [[1, 3, 64], [1, 3, 160], [8, 3, 256]]}


def test_named_axes_narrow_a_profile_and_the_others_keep_their_range():
    own = parse_options([("profile", "batch=1..4@2"), ("profile", "batch=5..8,h=64..64")])
    assert profiles_of(VARYING, own) == [
        {"image": [[1, 3, 64], [2, 3, 160], [4, 3, 256]]},
        {"image": [[5, 3, 64], [5, 3, 64], [8, 3, 64]]},
    ]


def test_a_profile_beyond_the_signature_is_refused():
    for text in ("batch=1..9", "width=1..2"):
        with pytest.raises(UsageError, match="not within"):
            profiles_of(VARYING, parse_options([("profile", text)]))


def test_an_axis_without_a_range_says_how_to_state_it():
    with pytest.raises(UsageError, match="'n' has no range") as caught:
        profiles_of(image(Dim("n", 0), 3), TensorRTOptions())
    assert "--inputs" in str(caught.value.remedy)
    assert "--option tensorrt.open=1..8" in str(caught.value.remedy)
    (profile,) = profiles_of(image(Dim("n", 0), 3), parse_options([("open", "1..16")]))
    assert profile == {"image": [[1, 3], [1, 3], [16, 3]]}


def test_values_of_what_is_no_input_are_refused_with_the_inputs():
    assert values_of(VARYING, parse_options([("values", "image:1;4;8")])) == {
        "image": [[1], [4], [8]]
    }
    with pytest.raises(UsageError, match="'sizes', which is no input") as caught:
        values_of(VARYING, parse_options([("values", "sizes:1;4;8")]))
    assert caught.value.remedy == "the inputs are image"
