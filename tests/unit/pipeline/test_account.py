"""The certificate keeps a build log's useful lines; the bundle keeps all of it."""

from roadworthy.pipeline.account import useful_lines


def test_errors_warnings_and_the_sum_are_kept_chatter_is_not():
    log = (
        "[I] [MemUsageChange] Init CUDA: CPU +2, GPU +0",
        "[W] weights of int64 were cast down to int32",
        "[I] Detected 1 inputs and 1 output network tensors.",
        "[W] weights of int64 were cast down to int32",
        "[E] Error Code 2",
        "[F] assertion",
        "[I] Total Activation Memory: 1024",
        "[I] Engine generation completed in 12.3 seconds.",
        "[I] [MemUsageStats] Peak memory usage of TRT CPU/GPU memory allocators: CPU 1 MiB",
        "channels stay first: an\n  axis varies",
    )
    assert useful_lines(log) == (log[1], *log[4:9], "channels stay first: an axis varies")


def test_it_stays_bounded_and_says_that_there_is_more():
    log = [f"[W] warning {i}" for i in range(1000)]
    kept = useful_lines(log)
    assert len(kept) == 100
    assert kept[0] == log[0] and kept[-1] == log[-1]
    assert kept[60] == "… 901 more lines: see the build log"
    assert useful_lines(log[:100]) == tuple(log[:100])
    (line,) = useful_lines(["x" * 10_000])
    assert len(line) == 500 and line.endswith("…")


def test_no_log_is_no_lines():
    assert useful_lines(()) == ()
