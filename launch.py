"""The front door: python launch.py COMMAND [--config=configs/NAME.py] [--config.FIELD=VALUE ...] [options]."""

import sys

from ichjax.cli.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
