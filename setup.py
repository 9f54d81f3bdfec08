"""The packages of the wheel: ichjax, and the top-level folder configs/ as ichjax/configs. All else: pyproject.toml."""

from setuptools import find_packages, setup

CONFIGS = {"ichjax.configs": "configs", "ichjax.configs.literature": "configs/literature"}

setup(packages=[*find_packages(include=["ichjax*"]), *CONFIGS], package_dir=CONFIGS)
