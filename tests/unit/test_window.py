"""What a client that comes back soon gets from memory is what Redis would have sent it."""

from front_process import sighting
from hypothesis import given
from hypothesis import strategies as st

from api.feed import START, Event, Mark
from api.window import LIFE_MS, MOST, Window


def event(number: int) -> Event:
    return Event(Mark(1_000 * number, number % 2, number), b"{}", sighting(number))


def numbers(events: list[Event] | None) -> list[int] | None:
    return None if events is None else [each.mark.seq for each in events]


def test_nothing_is_known_before_it_begins_nor_behind_a_bare_id() -> None:
    window = Window()
    assert window.after(event(1).mark) is None
    window.begin(START, [event(1), event(2)])
    assert numbers(window.after(START)) == [1, 2]
    assert window.after(Mark(1_000, 1, -1)) is None


@given(st.integers(0, 20), st.lists(st.integers(1, 5), max_size=6), st.integers(0, 60), st.data())
def test_it_tells_all_that_follows_or_nothing(
    held: int, batches: list[int], age: int, data: st.DataObject
) -> None:
    window = Window()
    total = 10 + held
    window.begin(event(10).mark, [event(number) for number in range(11, total + 1)])
    for size in batches:
        window.add([event(total + number) for number in range(1, size + 1)])
        total += size
    window.grow_old(1_000 * age + LIFE_MS)
    seen = data.draw(st.integers(1, total + 1))
    found = numbers(window.after(event(seen).mark))
    assert found == (list(range(seen + 1, total + 1)) if seen >= max(10, min(age, total)) else None)


def test_it_is_bounded() -> None:
    window = Window()
    window.begin(START, [])
    for first in range(1, 3 * MOST, 500):
        window.add([event(number) for number in range(first, first + 500)])
    newest = window.after(event(3 * MOST - 1).mark)
    assert newest is not None
    assert window.after(event(MOST).mark) is None
