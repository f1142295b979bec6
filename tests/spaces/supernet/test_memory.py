"""Memory that tensors free stays with the process while it is asked to, and goes back afterwards."""

import subprocess
import sys

#: Pages of a buffer of 64 MiB that is made, written and freed again and again, counted as the kernel hands them out.
PROGRAM = """
import resource
import numpy as np
from fleetfront.spaces.supernet.memory import kept_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        np.full(2**23, 1.0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident_pages():
    return int(open("/proc/self/statm").read().split()[1])

given_back = faults()
before = resident_pages()
with kept_memory():
    faults()
    print(faults() * 5 < given_back, end=" ")
print(resident_pages() - before < 2**26 // 4096 // 2)
"""


def test_memory_is_kept_within_and_given_back_after() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]
