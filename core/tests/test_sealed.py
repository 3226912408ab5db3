"""Opaque bytes of several makers in one string."""

from hypothesis import given
from hypothesis import strategies as st

from proxy_core import Opaque, seal, unseal


@given(maker=st.text(), payload=st.text())
def test_bytes_return_to_their_maker_through_any_format(maker, payload):
    opaque = Opaque(maker=maker, payload=payload)

    assert unseal(seal(opaque, "another"), "another") == opaque or maker == "another"


def test_a_makers_own_bytes_are_neither_sealed_nor_changed():
    assert seal(Opaque(maker="anthropic", payload="EqQB+/="), "anthropic") == "EqQB+/="
    assert unseal("EqQB+/=", "anthropic") == Opaque(maker="anthropic", payload="EqQB+/=")


@given(st.text())
def test_a_damaged_seal_belongs_to_no_maker(rest):
    found = unseal("proxy1." + rest, "anthropic")

    assert found.maker != "anthropic"
