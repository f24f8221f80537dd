"""Records: classes that are made of their fields."""

from __future__ import annotations

import pytest

from ecs_deploy import Record, Value, field, replace


class Point(Value):
    x: int
    y: int = 2


class Place(Point):
    name: str = "here"


class Bag(Record):
    things: list[str] = field(default_factory=list)


def test_fields_are_given_by_position_or_name_or_left_at_their_default() -> None:
    assert (Point(1).x, Point(1).y) == (1, 2)
    assert Place(1, name="there") == Place(1, 2, "there")
    assert Place(1) != Point(1)


def test_a_value_does_not_change_but_its_copy_may_differ() -> None:
    point = Point(1)

    with pytest.raises(AttributeError, match=r"Point\.x does not change"):
        point.x = 3  # type: ignore[misc]
    assert replace(point, x=3) == Point(3)
    assert point == Point(1)


def test_a_default_that_can_change_is_made_for_each_record() -> None:
    one, other = Bag(), Bag()
    one.things.append("a")
    assert other.things == []


@pytest.mark.parametrize("given", [((1, 2, 3), {}), ((1,), {"x": 1}), ((1,), {"z": 1})])
def test_a_field_that_is_not_there_or_is_given_twice_is_refused(given: tuple[tuple[int, ...], dict[str, int]]) -> None:
    values, named = given
    with pytest.raises(TypeError, match="Point takes each of x, y once"):
        Point(*values, **named)


def test_a_field_without_a_default_must_be_given() -> None:
    with pytest.raises(AttributeError, match="x"):
        Point()  # type: ignore[call-arg]
