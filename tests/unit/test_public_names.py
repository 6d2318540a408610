"""The names that the package exports: they are what they say, and asking for none imports nothing."""

import subprocess
import sys

import pytest

import click_gaussian_ns


@pytest.mark.parametrize("name", click_gaussian_ns.__all__)
def test_every_name_is_found_and_described(name: str) -> None:
    found = getattr(click_gaussian_ns, name)
    assert found.__name__ == name
    assert found.__doc__ and name in dir(click_gaussian_ns)


def test_the_list_and_the_table_of_modules_agree() -> None:
    listed = [name for names in click_gaussian_ns._MODULES.values() for name in names]
    assert sorted(listed) == click_gaussian_ns.__all__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        click_gaussian_ns.nothing  # noqa: B018


def test_importing_the_package_imports_nothing() -> None:
    code = (
        "import sys; before = set(sys.modules); import click_gaussian_ns\n"
        "added = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(added - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['click_gaussian_ns']"
