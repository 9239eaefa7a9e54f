import subprocess
import sys

import pytest

FREES = """
import resource
import numpy as np
from gaitreid.pipeline.memory import keep_freed

keep_freed()
np.ones(16 << 20, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    np.ones(16 << 20, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="GNU's C library")
@pytest.mark.parametrize(("environment", "kept"), [({}, True), ({"MALLOC_MMAP_THRESHOLD_": "131072"}, False)])
def test_memory_that_was_freed_is_not_asked_for_again(environment: dict[str, str], kept: bool) -> None:
    done = subprocess.run([sys.executable, "-c", FREES], env=environment, capture_output=True, text=True, check=True)
    assert (int(done.stdout) < 1000) == kept  # faults of pages; the kernel hands out ten times 4,096 of them
