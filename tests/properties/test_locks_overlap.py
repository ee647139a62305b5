"""Overlap is symmetric, reflexive and never misses a path that both patterns match."""

from __future__ import annotations

import fnmatch

from hypothesis import given
from hypothesis import strategies as st

from bot.domain.locks import InvalidLock, fold, overlap, parse_lock

segments = st.sampled_from(["a", "b", "src", "x.py", "*", "*.py", "a*", "?", "[ab]", "**"])
patterns = st.lists(segments, min_size=1, max_size=4).map("/".join)
paths = st.lists(st.sampled_from(["a", "b", "src", "ab", "c"]), max_size=3).flatmap(
    lambda folders: st.sampled_from(["x.py", "y.py", "a.md", "b.md"]).map(lambda name: "/".join([*folders, name]))
)


def matches(pattern: list[str], path: list[str]) -> bool:
    """A slow, obvious matcher: a pattern covers everything below what it names."""
    if not pattern:
        return True
    if pattern[0] == "**":
        return any(matches(pattern[1:], path[skip:]) for skip in range(len(path) + 1))
    return bool(path) and fnmatch.fnmatchcase(path[0], pattern[0]) and matches(pattern[1:], path[1:])


def covers(pattern: str, path: str) -> bool:
    parts = pattern.split("/")
    if len(parts) == 1 and any(char in pattern for char in "*?["):
        parts = ["**", *parts]
    return matches(parts, path.split("/"))


@st.composite
def covering(draw: st.DrawFn, path: str) -> str:
    """A pattern made from a path so that it matches it: parts become wildcards or gaps, the end may be cut off."""
    parts: list[str] = []
    for part in path.split("/"):
        shapes = [part, part, "*", "**", f"{part[0]}*", f"*{part[-1]}", f"?{part[1:]}", f"[{part[0]}q]{part[1:]}"]
        parts.append(draw(st.sampled_from(shapes)))
    kept = draw(st.integers(1, len(parts)))
    pattern = "/".join(parts[:kept])
    assert covers(pattern, path)
    return pattern


@given(paths.flatmap(lambda path: st.tuples(covering(path), covering(path), st.just(path))))
def test_two_patterns_that_match_one_path_overlap(case: tuple[str, str, str]) -> None:
    a, b, path = case
    assert overlap(a, b)
    assert overlap(a, path)


@given(patterns, patterns)
def test_overlap_is_symmetric_and_everything_overlaps_everything(a: str, b: str) -> None:
    assert overlap(a, b) is overlap(b, a)
    assert overlap(a, a)
    assert overlap(a, "**")


@given(st.text(max_size=80))
def test_a_pattern_is_refused_or_cleaned_once_and_for_all(text: str) -> None:
    try:
        lock = parse_lock(text)
    except InvalidLock:
        return
    assert parse_lock(str(lock)) == lock
    assert ".." not in lock.path.split("/")
    assert not lock.path.startswith("/")


@given(st.text(max_size=40))
def test_folding_is_stable(text: str) -> None:
    assert fold(fold(text)) == fold(text)
