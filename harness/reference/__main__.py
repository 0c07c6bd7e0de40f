"""``python -m harness.reference``."""

import os

# One core is the subject's share; a BLAS pool would spin on the load generator's. Must precede the numpy import.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

from harness.reference.cli import main  # noqa: E402

if __name__ == "__main__":
    raise SystemExit(main())
