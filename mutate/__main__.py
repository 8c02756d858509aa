"""`make mutate`: ends with 1 if the tests miss a named change, or too many of the others.

SEED chooses the sample. The same SEED continues an earlier run of the same tree.
SAMPLE=300, DEADLINE_MINUTES=60, WORKERS=2.
"""

import os
import random
import sys
from pathlib import Path

from mutate.mutants import FragmentNotFound
from mutate.run import Settings, run


def main() -> int:
    env = os.environ
    settings = Settings(
        seed=int(env.get("SEED") or random.SystemRandom().randrange(1_000_000)),
        sample=int(env.get("SAMPLE") or 300),
        minutes=float(env.get("DEADLINE_MINUTES") or 60),
        workers=int(env.get("WORKERS") or 2),
    )
    try:
        return 0 if run(Path(), settings) else 1
    except FragmentNotFound as e:
        sys.stderr.write(f"{e}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
