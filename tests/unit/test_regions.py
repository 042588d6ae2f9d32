"""The data files of plate families: what they say of real plates, and how mistakes in them show."""

import re
import subprocess
import sys

import pytest

from engine.errors import ConfigError
from engine.plates import normalise
from engine.regions import (
    ALPHABET,
    Layout,
    Pattern,
    layouts_of,
    lookalikes_of,
    matching_regions,
    patterns_of,
    region_codes,
    regions_of,
)
from engine.regions.country import FOLDER, load_country, load_unions

COUNTRIES = [code for code in region_codes() if regions_of(code) == (code,)]

PLATES = {
    "ar": "AB 123 CD, ABC 123, A123BCD", "at": "W 12345X, GU 123AB, L 4321 B, S MAX 1",
    "au": "AB-12-CD, 1AB-2CD, 123-AB4, S123-ABC, 1ABC-234, A 12 BC, YAB-12C, ABC-123",
    "be": "1-ABC-234, ABC-123, 123-ABC", "bg": "CA 1234 BC, A 1234 KB",
    "br": "ABC-1234, ABC1D23", "ca": "ABCD 123, ABC-1234, AB1 23C, A12 BCD, ABC 123, 123 ABC",
    "ch": "ZH 123456, AG·1, GE 98765",
    "cn": "粤B·12345, 京A·A1234, 沪C·12B4C, 粤B·D12345, 粤B·12345F", "cy": "KAB 123",
    "cz": "4B4 0262, 1AB 2345, EL1 23AB, ABH 12-34",
    "de": "B MW 4711, M-A 1, WOB VW 123, HH AB 123E, GÖ-X 99H", "dk": "AB 12 345",
    "ee": "123 ABC, 12 AB", "es": "1234 BCD, M-1234-AB", "fi": "ABC-123, AB-1",
    "fr": "AB-123-CD, 123 ABC 75, 1234 AB 2A",
    "gb": "LS15 EBC, W113 HBT, ABC 123D, AIZ 1234, Q123 ABC", "gr": "ΑΒΕ-1234, XAZ-12",
    "hr": "ZG 1234-AB, ŠI 123-A", "hu": "ABC-123, AA BB-123",
    "ie": "131-D-12345, 05-WX-1, 241-C-999", "il": "12-345-67, 123-45-678",
    "in": "JH10BP8513, MH 12 AB 1234, DL 3C AB 1234, 22 BH 1234 AA",
    "it": "AB 123CD, AB 12345", "jp": "品川 500 さ 12-34, 500 12", "lt": "ABC 123",
    "lu": "AB 1234, 12345", "lv": "AB-1234, AB-12", "mt": "ABC 123",
    "mx": "ABC-12-34, ABC-123-D, A12-BCD", "my": "WXY 1234, W 1234 A, A 1",
    "nl": "12-TKL-3, AB-12-34, TK-123-L, T-123-KL", "no": "AB 12345, AB 1234",
    "nz": "ABC123, AB 1234", "pl": "PO 12345, WX 1234A, KRA 1A23, WWA 12CE",
    "pt": "AA-01-AA, 12-AB-34, 12-34-AB", "ro": "B 28 BCV, CJ 12 ABC, B 123 ABC",
    "rs": "BG 123-AB, NS 1234-AB", "ru": "А123ВС 77, A123BC 777, AB123 77, 1234 AB 77",
    "se": "ABC 123, ABC 12D", "sg": "SBA 1234 G, E 1 A",
    "si": "LJ K4-09D, MB 12-ABC, CE AB-123", "sk": "RK-492AU, AA 123BC",
    "tr": "34 ABC 123, 06 A 1234, 81 AB 123", "ua": "АА 1234 ВВ, 123-45 AB",
    "us": "7ABC123, ABC-1234, ABC 123, 123 ABC, AB 12345, 1AB2345, 123 4567",
    "vn": "34A-368.37, 89C-203.39, 29-B1 123.45, 51F-1234, 59-AB 123.45",
    "za": "BB 12 BB GP, BBB 123 EC, CA 123456, ND 123",
}  # fmt: skip
"""Plates as they are written on the road."""

NEVER = {
    "ar": "ABC12345", "bg": "CD1234BC", "ch": "XX123", "cn": "BI2345", "cz": "0B40262",
    "de": "B0123", "es": "1234ABC", "fr": "AB123CO", "gb": "IS15EBC", "hr": "XX1234AB",
    "ie": "133D123", "il": "A123456", "in": "XX10BP8513", "it": "AB123CO", "my": "WOX1234",
    "nl": "12ABC3", "pl": "PO1234B", "ro": "XX12ABC", "ru": "D123BC77", "se": "ABC12O",
    "sg": "SBA1234I", "si": "XX12ABC", "tr": "82AB123", "ua": "DD1234BB", "us": "7IBC123",
    "vn": "34J36837", "za": "AB12BBGP",
}  # fmt: skip


def written() -> list[tuple[str, str]]:
    return [(code, plate.strip()) for code, all_of in PLATES.items() for plate in all_of.split(",")]


@pytest.mark.parametrize(("country", "plate"), written())
def test_plates_of_the_road_are_written_like_those_of_their_country(country, plate):
    text = normalise(plate)
    assert country in matching_regions(text)
    assert any(Pattern(source).matches(text) for source in patterns_of(country))


@pytest.mark.parametrize(("country", "text"), NEVER.items())
def test_what_a_country_never_issues_is_not_its(country, text):
    assert country not in matching_regions(text)


def test_every_country_is_known_by_a_plate_of_it():
    assert set(PLATES) == set(COUNTRIES)
    assert set(regions_of("eu")) < set(COUNTRIES)


@pytest.mark.parametrize("country", COUNTRIES)
def test_families_say_what_they_are(country):
    loaded = load_country(FOLDER / f"{country}.toml")
    assert loaded.code == country
    assert loaded.name
    for family in loaded.families:
        assert family.about
        for layout in family.layouts:
            assert len(layout.separators) == len(layout.groups) - 1
            assert all(re.fullmatch("[ .-]*", separator) for separator in layout.separators)
            assert 0 <= layout.second_row < len(layout.groups)


def test_layouts_tell_groups_separators_and_rows():
    assert Layout(("[1-9]#[A-HK-NPR-VX-Z]", "###", "##"), ("-", "."), 1) in layouts_of("vn")
    (bulgarian,) = layouts_of("bg")
    assert bulgarian.groups[1] == "####"
    assert (bulgarian.separators, bulgarian.second_row) == ((" ", ""), 2)
    assert not bulgarian.always_two_rows
    assert [layout.always_two_rows for layout in layouts_of("ar")] == [False, True, False, True]


def test_look_alikes_depend_on_the_typeface():
    assert lookalikes_of(("gb",)) == {"0O", "1I"}
    assert lookalikes_of(("de",)) == set()
    assert lookalikes_of(("br",)) == {"0O", "1I"}, "the older of its families"
    assert lookalikes_of() == {"0O", "1I"}


def test_places_are_written_out_in_patterns():
    assert "ZH[1-9]#{0,5}" in patterns_of("ch")
    assert len(patterns_of("ch")) == 26
    assert patterns_of("xx") == layouts_of("xx") == ()


def test_unions_name_known_countries():
    for code, members in load_unions(FOLDER / "unions.toml").items():
        assert set(members) <= set(COUNTRIES), code
        assert len(set(members)) == len(members)


def test_nothing_is_read_before_it_is_asked_for():
    """The publisher and the web front normalise plates and never ask for a country."""
    script = "import engine.plates as p, engine.regions.catalogue as c\n"
    script += (
        "p.normalise('a-1'); print(c._known.cache_info().misses, c._country.cache_info().misses)"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "0"]


GOOD = 'name = "X"\n[[families]]\nabout = "a"\nlayouts = ["@@ ###"]\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = ", r"xx\.toml: Invalid value"),
        (
            'name = 1\n[[families]]\nabout = "a"\nlayouts = ["@"]\n',
            r"xx\.toml: name: Expected `str`",
        ),
        (GOOD.replace("about", "abuot"), r"xx\.toml: families\[0\]: Object .*`abuot`|about"),
        ('name = "X"\nfamilies = []\n', r"xx\.toml: families: there is none"),
        (GOOD.replace('["@@ ###"]', "[]"), r"families\[0\]\.layouts: there is none"),
        (GOOD.replace("###", "##!"), r"families\[0\]\.layouts\[0\]: '@@ ##!' .*'!' means nothing"),
        (GOOD.replace("@@ ###", "@@ "), r"layouts\[0\]: '@@ ' begins or ends with a separator"),
        (GOOD.replace("@@ ###", "@|#/#"), r"layouts\[0\]: '@\|#/#' has more than two rows"),
        (GOOD.replace("@@", "%"), r"layouts\[0\]: .*'\(\)' means nothing"),
        (GOOD.replace("@@", "%%"), r"layouts\[0\]: .*more than one place"),
        (GOOD.replace("@@", "[Z-A]"), r"layouts\[0\]: .*is no plate pattern"),
        (GOOD + 'letters = "A-"\n', r"families\[0\]\.letters: 'A-' are no letters"),
        (GOOD + 'letters = "0A"\n', r"families\[0\]\.letters: '0A' are no letters"),
        (GOOD + 'lookalikes = ["0OQ"]\n', r"families\[0\]\.lookalikes: '0OQ' is no pair"),
    ],
)
def test_a_mistake_in_a_data_file_names_file_and_key(tmp_path, text, message):
    path = tmp_path / "xx.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_country(path)


def test_a_data_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"zz\.toml.*No such file"):
        load_country(tmp_path / "zz.toml")


def test_letters_in_use_stand_for_every_letter_of_a_layout(tmp_path):
    path = tmp_path / "xx.toml"
    path.write_text('letters = "A-CX"\n' + GOOD.replace("###", "?"))
    (family,) = load_country(path).families
    assert family.layouts[0].pattern == "[A-CX][A-CX][0-9A-CX]"
    path.write_text('letters = ""\n' + GOOD.replace("@@ ", ""))
    (family,) = load_country(path).families
    assert [text for text in ALPHABET if Pattern(family.layouts[0].pattern).matches(text * 3)] == [
        *"0123456789"
    ]
