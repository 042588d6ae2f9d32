"""What an order says is checked before anybody acts on it."""

from types import SimpleNamespace

import pytest

from engine.errors import ControlError
from engine.messages import Request
from engine.orders import Orders


class Uploads:
    """Notes what is to be read."""

    def __init__(self):
        self.waiting = []

    def add(self, upload):
        self.waiting.append(upload)


def test_an_argument_of_another_type_is_named_and_nobody_acts_on_it():
    uploads = Uploads()
    orders = Orders(None, None, SimpleNamespace(free_rows=9), None, uploads)
    with pytest.raises(ControlError, match=r"^upload\.add: upload: Expected `str`, got `array`"):
        orders.obey(Request(verb="upload.add", arguments={"upload": ["a"]}))
    with pytest.raises(ControlError, match=r"^recognizers: count: Expected `int`, got `str`"):
        orders.obey(Request(verb="recognizers", arguments={"count": "2"}))
    with pytest.raises(ControlError, match=r"^upload\.add: .*unexpected keyword argument 'more'"):
        orders.obey(Request(verb="upload.add", arguments={"upload": "a", "more": 1}))
    assert not uploads.waiting
    orders.obey(Request(verb="upload.add", arguments={"upload": "a"}))
    assert uploads.waiting == ["a"]
