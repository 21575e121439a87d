# SPDX-License-Identifier: Apache-2.0
"""The engines, in the order in which they are shown."""
from engines.docker import Docker
from engines.docker_in_kvmbox import DockerInKvmbox
from engines.host import Host
from engines.kvmbox import Kvmbox
from engines.lxc import Lxc, LxcHardened
from engines.qemu_microvm import QemuMicrovm
from engines.runc import Runc

ALL = (Host, Kvmbox, Lxc, LxcHardened, Runc, Docker, DockerInKvmbox, QemuMicrovm)
