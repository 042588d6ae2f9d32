"""Plate text: normalisation, the look-alike distance, patterns and regions."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.plates import (
    ALPHABET,
    Pattern,
    distance,
    is_part,
    matches_any_region,
    matching_regions,
    normalise,
    region_codes,
    regions_of,
    shape,
)

PLATES = st.text(alphabet=ALPHABET, max_size=10)


@pytest.mark.parametrize(
    ("typed", "plate"),
    [
        ("LS15 EBC", "LS15EBC"),
        ("ls15-ebc", "LS15EBC"),
        ("B·MW 4711", "BMW4711"),
        ("Ö-ÄÜ 1", "OAU1"),
        ("３４Ａ－３６８．３７", "34A36837"),
        ("АВ 1234 СХ", "AB1234CX"),
        ("ΧΑΖ-1234", "XAZ1234"),
        ("粤B·12345", "B12345"),
        (" \t-·.", ""),
        ("", ""),
    ],
)
def test_normalising_keeps_letters_and_digits_only(typed, plate):
    assert normalise(typed) == plate


@given(st.text())
def test_normalised_text_is_plate_text_and_stays(text):
    once = normalise(text)
    assert set(once) <= set(ALPHABET)
    assert normalise(once) == once


def levenshtein(one: str, other: str) -> int:
    row = list(range(len(other) + 1))
    for i, mine in enumerate(one, start=1):
        above, row = row, [i]
        for j, theirs in enumerate(other):
            row.append(min(above[j] + (mine != theirs), above[j + 1] + 1, row[j] + 1))
    return row[-1]


@given(PLATES, PLATES)
def test_distance_is_symmetric_and_at_most_the_edit_distance(one, other):
    apart = distance(one, other, limit=20.0)
    assert apart == pytest.approx(distance(other, one, limit=20.0))
    assert apart <= levenshtein(one, other)
    assert apart >= 0.2 * levenshtein(one, other) - 1e-9
    assert (apart == 0) == (one == other)


@given(PLATES, PLATES, st.sampled_from([0.5, 1.0, 2.0, 3.0]))
def test_the_limit_only_cuts_what_exceeds_it(one, other, limit):
    exact = distance(one, other, limit=20.0)
    assert distance(one, other, limit) == pytest.approx(exact if exact <= limit else limit + 1)


@pytest.mark.parametrize(
    ("read", "true", "apart"),
    [
        ("LSI5EBC", "LS15EBC", 0.2),
        ("AB8CD", "ABBCD", 0.25),
        ("ABO1", "AB0I", 0.4),
        ("LS15EB", "LS15EBC", 1.0),
        ("4LS15EBC", "LS15EBC", 1.0),
        ("XS15EBC", "LS15EBC", 1.0),
        ("RK492AU", "LS15EBC", 4.0),
    ],
)
def test_look_alikes_are_near_and_strangers_far(read, true, apart):
    assert distance(read, true) == pytest.approx(apart)


@pytest.mark.parametrize(
    ("part", "whole", "is_one"),
    [
        ("AB12", "AB12CDE", True),
        ("2CDE", "AB12CDE", True),
        ("12CD", "AB12CDE", True),
        ("O383", "0383BYP", True),
        ("KTLV1", "KTLVR04", True),
        ("J3718", "HA93718", True),
        ("O41", "0432WZY", True),
        ("AB12CDE", "AB12CDE", False),
        ("AB12CDE", "AB12", False),
        ("AX17", "AB12CDE", False),
        ("A", "AB12CDE", False),
        ("", "AB12CDE", False),
    ],
)
def test_what_is_read_of_a_plate_hidden_in_part_is_known_as_a_part(part, whole, is_one):
    assert is_part(part, whole) is is_one


@given(PLATES, st.data())
def test_every_span_of_a_plate_is_a_part_of_it(plate, data):
    start = data.draw(st.integers(0, len(plate)))
    span = plate[start : data.draw(st.integers(start, len(plate)))]
    assert is_part(span, plate) is (2 <= len(span) < len(plate))


def test_distance_is_quick_enough_for_every_read_of_many_cameras():
    pairs = [("LS15EBC", "LSI5EBC"), ("LS15EBC", "RO51GFJ"), ("34A36837", "34N36837")]
    started = time.process_time()
    for _ in range(2_000):
        for one, other in pairs:
            distance(one, other)
    assert 6_000 / (time.process_time() - started) > 20_000


@pytest.mark.parametrize(
    ("pattern", "fits", "fits_not"),
    [
        ("@@##@@@", "LS15EBC", "LSI5EBC"),
        ("AB?{1,3}", "AB1C2", "AC1"),
        ("[A-FX]###", "X123", "G123"),
        ("@{2}#{0,2}", "AB", "AB123"),
    ],
)
def test_patterns_match_whole_plates(pattern, fits, fits_not):
    assert Pattern(pattern).matches(fits)
    assert not Pattern(pattern).matches(fits_not)
    assert not Pattern(pattern).matches(fits + "Z")


@pytest.mark.parametrize("pattern", ["", "ab", "[", "@{", "@{0}", "{2}@", "[^A]", "[Z-A]#", "@|#"])
def test_malformed_patterns_are_refused(pattern):
    with pytest.raises(ValueError, match="pattern"):
        Pattern(pattern)


def test_shape_tells_letters_from_digits():
    assert shape("LS15EBC") == "@@##@@@"


@pytest.mark.parametrize(
    ("plate", "country"),
    [
        ("LS15EBC", "gb"), ("W113HBT", "gb"), ("AB123CD", "fr"), ("AB123CD", "it"),
        ("1234BCD", "es"), ("BMW4711", "de"), ("ABC1D23", "br"), ("ABC1234", "br"),
        ("JH10BP8513", "in"), ("34A36837", "vn"), ("AA1234BB", "ua"), ("RK492AU", "sk"),
        ("4B40262", "cz"), ("B28BCV", "ro"), ("7ABC123", "us"), ("131D12345", "ie"),
        ("12TKL3", "nl"), ("PO12345", "pl"),
    ],
)  # fmt: skip
def test_countries_know_their_plates(plate, country):
    assert country in matching_regions(plate)
    assert matching_regions(plate, (country,)) == (country,)
    assert matches_any_region(plate, (country,))


def test_regions_are_searched_in_the_order_asked():
    assert matching_regions("AB123CD", ("it", "fr")) == ("it", "fr")
    assert {"fr", "it"} <= set(matching_regions("AB123CD", ("eu",)))
    assert matching_regions("AB123CD", ("br",)) == ()
    assert not matches_any_region("AB123CD", ("br",))
    assert matches_any_region("AB123CD", ("xx",)), "codes nobody knows mean anywhere"


def test_region_codes_stand_for_countries():
    assert regions_of("uk") == ("gb",)
    assert regions_of("us-ca") == ("us",)
    assert regions_of("xx") == ()
    assert "gb" in regions_of("eu")
    assert {"eu", "us", "gb", "br", "in", "vn", "ua"} <= set(region_codes())
    assert all(regions_of(code) for code in region_codes())
