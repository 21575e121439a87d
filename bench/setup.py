# SPDX-License-Identifier: Apache-2.0
"""Which packages bring what is missing, and their installation."""
import importlib.util
import os
import shutil
import subprocess

from results import Problem
from workloads import counts

# Of the host itself: program, package.
HOST = (("ip", "iproute2"), ("chroot", "coreutils"), ("unshare", "util-linux"), ("mkfs.ext4", "e2fsprogs"),
        ("mount", "mount"), ("modprobe", "kmod"), ("mkfs.erofs", "erofs-utils"), ("dpkg-deb", "dpkg"), ("tar", "tar"))


def missing_here():
    """Packages for what every run needs of the host."""
    lacking = [package for program, package in HOST if not shutil.which(program)]
    return lacking + ([] if importlib.util.find_spec("jsonschema") else ["python3-jsonschema"])


def installed(package):
    if not shutil.which("dpkg-query"):
        return True
    return subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status}", package], check=False, capture_output=True,
                          text=True).stdout == "installed"


def packages(engines):
    """What lacks, for the host, to count, and for these engines, each once."""
    wanted = missing_here() + ([] if shutil.which("perf") else [counts.PACKAGE])
    for engine in engines:
        wanted += [each for each in engine.packages if not installed(each)]
    return list(dict.fromkeys(wanted))


def install(wanted, say):
    if not wanted:
        say("nothing is missing")
        return
    if os.geteuid() != 0:
        raise Problem(f"--setup: only root can install packages; lacking are {' '.join(wanted)}")
    if not shutil.which("apt-get"):
        raise Problem(f"--setup: there is no apt-get here; install by hand what these packages of Debian's bring: {' '.join(wanted)}")
    say(f"installing {' '.join(wanted)}")
    done = subprocess.run(["apt-get", "-q", "-y", "--no-install-recommends", "install", *wanted], check=False,
                          env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    if done.returncode != 0:
        raise Problem(f"--setup: apt-get could not install {' '.join(wanted)}: apt-get update may help")
