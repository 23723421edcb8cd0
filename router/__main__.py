"""`python -m router` is the command `isocost`."""

from router.cli import main

raise SystemExit(main())
