"""`python -m fsr`: the command line, see `fsr.cli`."""

import sys

from fsr.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
