"""`python -m serving`: the supervisor of TorchServe."""

import sys

from serving.supervisor.main import main

if __name__ == "__main__":
    sys.exit(main())
