"""A local ECS: `model` owns its state, `timeline` its time, `server` speaks HTTP."""

from tests.simulator.behaviours import Behaviour
from tests.simulator.errors import AwsError, Call, Fault, Sender
from tests.simulator.model import World
from tests.simulator.server import Simulator

__all__ = ["AwsError", "Behaviour", "Call", "Fault", "Sender", "Simulator", "World"]
