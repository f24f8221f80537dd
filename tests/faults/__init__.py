"""Deployments by the thousand: one seed makes a world, a command line and what goes wrong; and who judges the end.

`worlds`, `commands`, `faults` and `scenarios` are pure: what may be. `witness`, `tracks` and `relay` are the world in
which it happens. `rules`, `sentences`, `offers` and `leavings` judge, from the simulator's own state and never from the
program's word. `campaign` plays it: first with the faults, when only safety is asked for; then without them, when the
same command has to succeed.
"""

from tests.faults.campaign import Campaign, Finding, environment
from tests.faults.scenarios import scenario

__all__ = ["Campaign", "Finding", "environment", "scenario"]
