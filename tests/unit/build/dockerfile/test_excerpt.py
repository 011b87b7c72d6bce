"""Excerpts of Dockerfiles."""

from __future__ import annotations

from wherry.build.dockerfile.excerpt import LINES_LIMIT, excerpt
from wherry.build.model.graph import SourceRange

SOURCE = "".join(f"line {number}\n" for number in range(1, 11)).encode()


def shown(*lines: tuple[int, int]) -> list[str]:
    return excerpt("f", SOURCE, [SourceRange(start, 0, end, 0) for start, end in lines]).splitlines()


def test_a_line_has_lines_around_it() -> None:
    assert excerpt("Dockerfile", SOURCE, [SourceRange(5, 0, 5, 3)]) == (
        "Dockerfile:5\n"
        "--------------------\n"
        "   3 |     line 3\n"
        "   4 |     line 4\n"
        "   5 | >>> line 5\n"
        "   6 |     line 6\n"
        "   7 |     line 7\n"
        "--------------------\n"
    )


def test_several_lines_are_marked() -> None:
    assert shown((4, 5), (7, 0))[0] == "f:4"
    assert [line[7:10] for line in shown((4, 5), (7, 0))[2:-1]] == ["   ", ">>>", ">>>", "   ", ">>>", "   "]


def test_the_first_and_the_last_line_have_lines_on_one_side() -> None:
    assert [line[:5] for line in shown((1, 1))[2:-1]] == ["   1 ", "   2 ", "   3 "]
    assert shown((11, 11))[-2] == "  11 | >>> "


def test_what_is_not_in_the_file_is_not_shown() -> None:
    assert shown() == []
    assert shown((0, 0)) == []
    assert shown((99, 99)) == []
    assert len(shown((9, 99))) == 4 + 3


def test_a_long_part_is_cut() -> None:
    source = b"x\n" * 1000
    assert excerpt("f", source, [SourceRange(1, 0, 900, 0)]).count("| >>>") == LINES_LIMIT


def test_a_long_line_is_cut() -> None:
    assert f"   1 | >>> {'x' * 500}...\n" in excerpt("f", b"x" * 60_000, [SourceRange(1, 0, 1, 0)])
