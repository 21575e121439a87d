#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""terminal.py SESSION KVMBOX: a session of kvmbox on a pseudo terminal.

Prints what was on the terminal. A mistake is one line on stderr and exit status 1.
"""
import fcntl
import os
import re
import select
import signal
import struct
import sys
import termios
import time

PATIENCE = 90  # seconds for anything to show up


class Failure(Exception):
    pass


class Session:
    """kvmbox as the foreground process of a new terminal."""

    def __init__(self, argv, rows, cols):
        self.seen = b''  # what has been shown and not been expected yet
        self.master, self.slave = os.openpty()
        self.resize(rows, cols)
        # Not what a terminal is born with: a restore must bring back what was there.
        mode = termios.tcgetattr(self.slave)
        mode[3] &= ~termios.ECHOCTL
        mode[6][termios.VEOF] = b'\x05'
        termios.tcsetattr(self.slave, termios.TCSANOW, mode)
        self.mode = termios.tcgetattr(self.slave)
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)
            for fd in range(3):
                os.dup2(self.slave, fd)
            os.environ['TERM'] = 'vt100'
            os.execv(argv[0], argv)

    def resize(self, rows, cols):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack('HHHH', rows, cols, 0, 0))

    def send(self, text):
        os.write(self.master, text.encode())

    def _read(self, seconds):
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        data = os.read(self.master, 65536)
        sys.stdout.write(data.decode(errors='replace'))
        self.seen += data
        return True

    def expect(self, regex, what):
        """Waits until regex is shown, and returns its match; what was before it is forgotten."""
        end = time.monotonic() + PATIENCE
        while True:
            match = re.search(regex.encode(), self.seen)
            if match:
                self.seen = self.seen[match.end():]
                return match
            if time.monotonic() > end or not self._read(max(0, end - time.monotonic())):
                raise Failure(f'{what}: nothing matched {regex} within {PATIENCE} s')

    def run(self, command, regex, what):
        self.send(command + '\n')
        return self.expect(regex, what)

    def monitor(self):
        with open(f'/proc/{self.pid}/task/{self.pid}/children') as f:
            return int(f.read().split()[0])

    def is_raw(self):
        return not termios.tcgetattr(self.slave)[3] & termios.ICANON

    def finish(self):
        """Waits for the end of kvmbox and returns its exit status."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                while self._read(0):
                    pass
                return os.waitstatus_to_exitcode(status)
            self._read(0.1)
        os.kill(self.pid, signal.SIGKILL)
        raise Failure(f'kvmbox did not end within {PATIENCE} s')

    def expect_end(self, status):
        found = self.finish()
        if found != status:
            raise Failure(f'the exit status is {found}, not {status}')
        mode = termios.tcgetattr(self.slave)
        if mode != self.mode:
            raise Failure(f'the terminal was not restored: {self.mode} became {mode}')


def start_shell(kvmbox, *args):
    s = Session([kvmbox, 'boot', *args], 33, 121)
    s.expect(r'# ', 'the prompt')
    if not s.is_raw():
        raise Failure('the terminal is not in raw mode')
    return s


def session_shell(kvmbox):
    """No argument at all: a shell."""
    s = start_shell(kvmbox)
    s.run('stty size', r'\n33 121\r\n', 'the first size')
    s.run('tty; echo $TERM', r'\n/dev/pts/0\r\nvt100\r\n', 'the terminal in the guest')
    # Quotes in the middle, so that the echo of a command is not taken for its output.
    s.run("""sh -c 'trap "echo resi""zed" WINCH; echo rea""dy; while :; do sleep 0.1; done'""", r'\nready', 'the trap')
    s.resize(40, 100)
    s.expect(r'\nresized', 'the signal of the new size')
    s.send('\x03')
    s.run('echo "status"=$?', r'\nstatus=130\r\n', 'the end of the command by Ctrl-C')
    s.run('stty size', r'\n40 100\r\n', 'the new size')
    s.run('echo "alive"; cat', r'\nalive\r\n', 'the shell and cat')
    s.run('some text', r'\nsome text\r\n', 'what cat was typed')
    s.send('\x04')
    s.expect(r'# ', 'the prompt after Ctrl-D')
    s.send('exit 9\n')
    s.expect_end(9)


def session_killed(kvmbox):
    """The monitor is killed."""
    s = start_shell(kvmbox, '--cpus', '2')
    os.kill(s.monitor(), signal.SIGKILL)
    s.expect_end(125)
    s.expect(r'kvmbox: the monitor was killed by signal 9', 'the sentence')


def session_escape(kvmbox):
    """A shell that takes no notice is left by Ctrl-] three times."""
    s = start_shell(kvmbox, '--', '/bin/sh', '-c', "trap '' INT QUIT TERM HUP; echo '#' ''; while :; do sleep 1; done")
    s.send('\x03')
    time.sleep(1)
    s.send('\x1d\x1d\x1d')
    s.expect_end(137)


def session_attach(kvmbox):
    """The shell of the VM "a" in the background, and another one in it, by exec."""
    s = Session([kvmbox, 'exec', '-it', 'a', 'sh'], 33, 121)
    s.expect(r'# ', 'the prompt of exec')
    if not s.is_raw():
        raise Failure('the terminal is not in raw mode')
    s.run('stty size', r'\n33 121\r\n', 'the first size')
    s.resize(40, 100)
    s.run('sleep 1; stty size', r'\n40 100\r\n', 'the new size')
    s.send('sleep 1000\n')
    time.sleep(1)
    s.send('\x03')
    s.run('echo "status"=$?', r'\nstatus=130\r\n', 'the end of the command by Ctrl-C')
    s.send('exit 9\n')
    s.expect_end(9)

    s = Session([kvmbox, 'attach', 'a'], 33, 121)
    s.run('echo "att"ached; stty size', r'\nattached\r\n33 121\r\n', 'the workload')
    s.send('\x10\n')
    s.expect(r'\nattached\r\n', 'the command before, by Ctrl-p')
    s.send('\x10\x11')
    s.expect_end(0)


def main():
    session, kvmbox = sys.argv[1:]
    try:
        {
            'attach': session_attach,
            'escape': session_escape,
            'killed': session_killed,
            'shell': session_shell,
        }[session](kvmbox)
    except Failure as e:
        print(file=sys.stdout)
        print(e, file=sys.stderr)
        sys.exit(1)


main()
