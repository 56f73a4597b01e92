"""Whether every kind of model trains rightly on the GPU of this machine, and how fast.

    python bench/gpu_check.py [--device cuda|cpu] [--parts A|B|AB]

A, in under ten minutes: what the machine has, the tests that need a GPU, equal runs, stops, groups,
CPU against GPU, memory that is used up. B, likewise: speed at the paper's size, as a table for
docs/performance.md and as rates for the cost model, printed and left in gpu_rates.json. Without a
GPU this says so and runs what a CPU can.

It needs neither Snakemake nor any other package that only planning or reporting takes. Ends with
status 1 if something is wrong.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(CHECKOUT / "src")]  # whether or not the library is installed

from gpu_correctness import Skipped, checks  # noqa: E402
from gpu_speed import of_paper, rehearsal, report  # noqa: E402

from pipeline_lib.errors import ConfigError  # noqa: E402
from pipeline_lib.imports import one_line  # noqa: E402
from pipeline_lib.study.rates import RATES, write_rates  # noqa: E402
from pipeline_lib.training.device import device_name, resolve_device  # noqa: E402
from pipeline_lib.training.precision import set_precision  # noqa: E402


def passed(check: Callable[[str], Iterator[str]], device: str) -> bool:
    """Run one check and say how it ended, with a line for each thing that it looked at."""
    name = (check.__doc__ or "").split("\n")[0].rstrip(".")
    start = time.monotonic()
    try:
        lines = list(check(device))
    except Skipped as reason:
        print(f"skipped  {name}: {reason}", flush=True)
        return True
    except Exception as error:  # the others are still to be made
        print(f"FAILED   {name}: {one_line(error)}", flush=True)
        return False
    print(f"ok       {name} ({time.monotonic() - start:.0f} s)", flush=True)
    for line in lines:
        print(f"           {line}", flush=True)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", choices=["cuda", "cpu"], help="default: a GPU if there is one")
    parser.add_argument("--parts", default="AB", choices=["A", "B", "AB"])
    arguments = parser.parse_args()
    device = arguments.device
    if device is None:
        try:
            device = resolve_device("cuda")
        except ConfigError as error:
            print(f"no GPU: the parts that a CPU can run are run ({error})", flush=True)
            device = "cpu"
    set_precision()
    all_passed = True
    if "A" in arguments.parts:
        ended = [passed(check, device) for check in checks]  # all of them, whatever the first says
        all_passed = all(ended)
    if "B" in arguments.parts:
        text, speeds = report(device, rehearsal() if device == "cpu" else of_paper())
        print(f"\n{text}", flush=True)
        if device != "cpu" and all_passed:  # what trains wrongly has no speed
            write_rates(speeds, device_name(device))
            print(f"the plan of a study that is run here goes by {RATES}", flush=True)
    return 0 if all_passed else 1


if __name__ == "__main__":
    sys.exit(main())
