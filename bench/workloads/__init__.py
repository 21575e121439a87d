# SPDX-License-Identifier: Apache-2.0
"""The workloads, in the order in which they are measured and shown."""
from workloads.containment import Containment
from workloads.cpu import Cpu
from workloads.disk import Disk
from workloads.http import Http
from workloads.memory import Memory
from workloads.neighbour import Neighbour
from workloads.net import Net
from workloads.postgres import Postgres
from workloads.start import Start

ALL = (Start, Memory, Cpu, Disk, Net, Http, Postgres, Neighbour, Containment)
