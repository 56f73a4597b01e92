"""Lists that print as a digest, by which Snakemake compares them."""

import json
import pickle

from pipeline_lib.study.long_list import LongList


def test_it_prints_short_and_differently_where_a_value_differs():
    values = [0.5 / (t + 1) for t in range(5000)]
    shown = repr(LongList(values))
    assert shown.startswith("<5,000 values, ")
    assert len(shown) < 100
    assert shown == repr(LongList(list(values)))
    assert shown != repr(LongList([*values[:-1], 0.0]))
    assert repr(LongList(["1/2", "1/3"])) != repr(LongList(["1/3", "1/2"]))


def test_it_is_the_list_in_all_else():
    values = [0.5, 0.25]
    same = pickle.loads(pickle.dumps(LongList(values)))
    assert same == values
    assert json.dumps(same) == "[0.5, 0.25]"
