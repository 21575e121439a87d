# SPDX-License-Identifier: Apache-2.0
"""The one root file system that every engine runs: Debian's packages unpacked, and the programs of ours.

None of the packages' scripts run. It is an image that is kept, once for each state of its inputs, and never written to:
VMs are given it as a disk, and containers have a layer of theirs over where it is mounted.
"""
import contextlib
import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import tempfile

from results import Problem

IMAGE, CHECKSUM = "root.erofs", "sha256"
HERE = pathlib.Path(__file__).resolve().parent
PROGRAMS = HERE / "programs"
WANTED = ("busybox-static", "fio", "iperf3", "nginx", "wrk", "postgresql-15", "gcc", "libc6-dev")
# What apt would add for the packages' scripts, and what compiles queries for PostgreSQL, which is left off.
UNUSED = ("adduser", "debconf", "dpkg", "init-system-helpers", "libllvm14", "libz3-4", "logsave", "openssl", "passwd", "perl",
          "perl-base", "perl-modules-5.36", "libperl5.36", "libgdbm6", "libgdbm-compat4", "postgresql-common",
          "postgresql-client-common", "ssl-cert", "sysvinit-utils", "tar", "usrmerge", "libjson-perl", "lsb-base",
          "sensible-utils", "ucf", "netbase", "locales", "libc-l10n", "iproute2", "python3", "python3.11", "python3-minimal",
          "python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib", "libpython3-stdlib", "libasan8", "liblsan0",
          "libtsan2", "libubsan1")
LEFT_OUT = ("usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian", "usr/share/bug",
            "usr/lib/postgresql/15/lib/bitcode", "usr/lib/systemd", "lib/systemd", "lib/udev", "etc/init.d",
            # Of gcc, what is for optimizing at link time and for sanitizers.
            "usr/lib/gcc/x86_64-linux-gnu/12/lto1", "usr/bin/x86_64-linux-gnu-lto-dump-12", "usr/bin/x86_64-linux-gnu-ld.gold",
            "usr/bin/x86_64-linux-gnu-dwp", "usr/lib/gcc/x86_64-linux-gnu/12/lib*san.*")
APPLETS = ("sh", "mount", "umount", "ip", "cat", "sleep", "sync", "mkdir", "rm", "dd", "ls", "chown", "chmod", "kill", "ps", "id",
           "true", "yes", "su", "env", "tail", "nproc", "uname", "mknod", "sha256sum")
PASSWD = "root:x:0:0:root:/root:/bin/sh\npostgres:x:100:100:PostgreSQL:/tmp:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
GROUP = "root:x:0:\ntty:x:5:\npostgres:x:100:\nnogroup:x:65534:\n"
# What runs a program in it on the host, without what the host's environment has of places that are not there.
CHROOT = ("env", "-i", "PATH=/usr/sbin:/usr/bin", "HOME=/root", "chroot")
POSTGRES = "/usr/lib/postgresql/15/bin"
TRIED = (("fio", "--version"), ("iperf3", "--version"), ("nginx", "-v"), ("gcc", "--version"),
         (f"{POSTGRES}/postgres", "--version"), (f"{POSTGRES}/pgbench", "--version"), (f"{POSTGRES}/initdb", "--version"),
         ("busybox", "true"), ("loop", "calls", "0"), ("gcc", "-O2", "-o", "/dev/null", "/usr/src/compiled.c"))


def cache():
    return pathlib.Path(os.environ.get("KVMBOX_CACHE") or "/var/lib/kvmbox/cache") / "bench-root"


def _run(command, why, **options):
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, **options)
    if done.returncode != 0:
        words = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise Problem(f"{why}: {words}")
    return done.stdout


class Root:
    """@image is an erofs image, @sha256 that of its bytes, @tree where it is mounted while it is."""
    tree = None

    def __init__(self, entry):
        self.image = entry / IMAGE
        self.sha256 = (entry / CHECKSUM).read_text().strip()

    @contextlib.contextmanager
    def mounted(self, directory):
        """Mounts it at @directory, which is made."""
        directory.mkdir()
        subprocess.run(["modprobe", "-q", "-a", "loop", "erofs"], check=False)  # unless they are built in
        _run(["mount", "-t", "erofs", "-o", "loop,ro", self.image, directory], "the root file system cannot be mounted")
        self.tree = directory
        try:
            yield
        finally:
            self.tree = None
            _run(["umount", "--lazy", directory], "the root file system cannot be unmounted")

    def command(self, *words):
        """What runs a program of it on the host: with the host's devices and a /tmp, which nobody else sees and go with it."""
        return ["unshare", "--mount", "sh", "-c",
                'mount -t tmpfs tmpfs "$0/tmp" && mount --bind /dev "$0/dev" && exec "$@"',
                self.tree, *CHROOT, self.tree, *words]


def _solve(directory):
    """What apt would install into an empty system, as NAME=VERSION."""
    status = directory / "status"
    status.touch()
    output = _run(["apt-get", "-qq", "-s", "-o", f"Dir::State::status={status}", "-o", "APT::Install-Recommends=false",
                   "install", *WANTED], "apt cannot find the packages for the root file system (is apt-get update needed?)",
                  env={**os.environ, "LC_ALL": "C"})
    packages = []
    for line in output.splitlines():
        words = line.split()
        if words[:1] == ["Inst"] and words[1] not in UNUSED:
            packages.append(f"{words[1]}={words[2].lstrip('(')}")
    if not packages:
        raise Problem("apt finds no packages for the root file system: apt-get update may help")
    return sorted(packages)


def _unpack(packages, entry, say):
    tree, debs = entry / "tree", entry / "debs"
    debs.mkdir()
    for name in ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "usr/lib32", "usr/libx32", "usr/src", "etc", "proc", "sys", "dev",
                 "run", "tmp", "var/tmp", "var/run", "root", "data", "mnt"):
        (tree / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64", "lib32", "libx32"):
        (tree / name).symlink_to(f"usr/{name}")
    (tree / "tmp").chmod(0o1777)
    say(f"fetching and unpacking {len(packages)} packages for the root file system")
    _run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *packages],
         "apt cannot fetch the packages for the root file system", cwd=debs)
    exclude = [f"--exclude=./{path}" for path in LEFT_OUT]
    for deb in sorted(debs.iterdir()):
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as archive:
            _run(["tar", "-x", "-C", tree, "--keep-directory-symlink", *exclude, "-f", f"/dev/fd/{archive.stdout.fileno()}"],
                 f"cannot unpack {deb.name}", pass_fds=[archive.stdout.fileno()])
    shutil.rmtree(debs)
    (tree / "etc/passwd").write_text(PASSWD)
    (tree / "etc/group").write_text(GROUP)
    for name in APPLETS:
        if not any((tree / place / name).is_symlink() or (tree / place / name).exists() for place in ("usr/bin", "usr/sbin")):
            (tree / "usr/bin" / name).symlink_to("/usr/bin/busybox")
    root = ["chroot", tree]
    _run([*root, "ldconfig"], "the root file system is not whole")
    # Its notes of inode numbers and times would make each image another.
    shutil.rmtree(tree / "var/cache/ldconfig", ignore_errors=True)
    for source in PROGRAMS.iterdir():
        shutil.copy(source, tree / "usr/src")
        if source.stem != "compiled":
            _run([*root, "gcc", "-O2", "-static", "-s", "-o", f"/usr/bin/{source.stem}", f"/usr/src/{source.name}"],
                 f"cannot compile {source.name}")
    (tree / "dev/null").touch()
    for words in TRIED:
        _run([*root, *words], f"the root file system's {words[0]} does not run")
    (tree / "dev/null").unlink()


def get(say, entry=None):
    """The Root, made if it is not there yet; or the one in @entry, as it was made once."""
    if entry:
        if not (pathlib.Path(entry) / CHECKSUM).is_file():
            raise Problem(f"--root: {entry} is not a root file system that kvmbox bench has made")
        return Root(pathlib.Path(entry))
    with tempfile.TemporaryDirectory() as directory:
        packages = _solve(pathlib.Path(directory))
    inputs = hashlib.sha256("\n".join(packages).encode())
    for file in (pathlib.Path(__file__), *sorted(PROGRAMS.iterdir())):
        inputs.update(file.read_bytes())
    entry = cache() / inputs.hexdigest()[:16]
    entry.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{entry}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (entry / CHECKSUM).exists():
            shutil.rmtree(entry, ignore_errors=True)
            try:
                _make(packages, entry, say)
            except BaseException:
                shutil.rmtree(entry, ignore_errors=True)
                raise
        os.utime(entry)  # The one that was used last is the newest.
    forget(entry)
    return Root(entry)


def forget(entry):
    """Removes what was made before with other packages or programs, but for the one that was used last: a run may use it."""
    others = sorted((each for each in entry.parent.iterdir() if each.is_dir() and each != entry), key=lambda each: each.stat().st_mtime)
    for each in others[:-1]:
        shutil.rmtree(each, ignore_errors=True)
        pathlib.Path(f"{each}.lock").unlink(missing_ok=True)


def _make(packages, entry, say):
    entry.mkdir()
    _unpack(packages, entry, say)
    _run(["mkfs.erofs", "--quiet", "-T0", "-U", "00000000-0000-0000-0000-000000000000", "-x-1", entry / IMAGE,
          entry / "tree"], "cannot make an image of the root file system")
    shutil.rmtree(entry / "tree")
    digest = hashlib.sha256()
    with open(entry / IMAGE, "rb") as image:
        while block := image.read(1 << 20):
            digest.update(block)
    (entry / CHECKSUM).write_text(f"{digest.hexdigest()}\n")
