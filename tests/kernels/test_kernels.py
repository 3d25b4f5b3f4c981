"""The package: what it offers by name."""

import pkgutil

import kernels


def test_no_public_name_hides_a_module():
    """`import kernels.x as x` would find the function, and not the module, if both were called x."""
    modules = {module.name for module in pkgutil.iter_modules(kernels.__path__)}
    assert not modules & set(kernels.__all__)


def test_every_public_name_is_there():
    assert all(callable(getattr(kernels, name)) for name in kernels.__all__)
