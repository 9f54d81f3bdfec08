"""The packages of the wheel: ichjax, and the top-level folder configs/ as ichjax/configs. All else: pyproject.toml."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["ichjax*"]), "ichjax.configs"], package_dir={"ichjax.configs": "configs"})
