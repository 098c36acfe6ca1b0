"""What can be imported from ``artemis`` itself."""

import subprocess
import sys

import pytest

import artemis
import artemis.client


def test_every_word_of_the_sdk_is_one_of_the_package() -> None:
    """Errors to catch and events to match too; they are the same objects."""
    assert {*artemis.client.__all__, "Instance", "FailedInstance", "__version__"} == set(artemis.__all__)
    assert [getattr(artemis.client, name) for name in artemis.client.__all__] == [
        getattr(artemis, name) for name in artemis.client.__all__
    ]
    assert set(artemis.__all__) == set(dir(artemis))


def test_an_unknown_word_is_an_attribute_error() -> None:
    """As of any module."""
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = artemis.Nonsense


def test_the_package_alone_loads_none_of_them() -> None:
    """Words are loaded when they are first used."""
    program = "import sys, artemis; print(sorted(name for name in sys.modules if name.startswith('artemis')))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "['artemis', 'artemis._version']\n"
