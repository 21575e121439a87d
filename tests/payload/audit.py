#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""audit.py KVMBOX GUEST: kvmbox audit of a machine that runs, beside what /proc says when it is read here.

The guest is a bare-metal one that halts. As root with a network by NAT and a tap, in namespaces of its
own; else without one.
"""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

STARTING = 20  # seconds


def skip(why):
    print(f'skipped: {why}', file=sys.stderr)
    sys.exit(77)


def expect(what, seen, wanted):
    if seen != wanted:
        sys.exit(f'{what}: {seen!r}, not {wanted!r}')


def status_of(pid, tid):
    with open(f'/proc/{pid}/task/{tid}/status', encoding='utf-8') as f:
        return dict(line.rstrip('\n').split(':\t', 1) for line in f if ':\t' in line)


def check_threads(process):
    pid = process['pid']
    # The kernel makes threads of its own when it likes to.
    ours = [t for t in process['threads'] if t['role'] != 'kernel']
    for thread in ours:
        status = status_of(pid, thread['tid'])
        where = f"thread {thread['name']} of the {process['role']}"
        expect(f'{where}: name', thread['name'], status['Name'])
        expect(f'{where}: seccomp', {'none': '0', 'filter': '2'}[thread['seccomp']], status['Seccomp'])
        expect(f'{where}: filters', str(thread['seccomp_filters']), status.get('Seccomp_filters', 'None'))
        expect(f'{where}: no_new_privs', str(int(thread['no_new_privs'])), status['NoNewPrivs'])
        expect(f'{where}: uid', thread['uid'], [int(n) for n in status['Uid'].split()])
        expect(f'{where}: gid', thread['gid'], [int(n) for n in status['Gid'].split()])
        expect(f'{where}: groups', thread['supplementary_groups'], len(status['Groups'].split()))
        for name, key in (('effective', 'CapEff'), ('permitted', 'CapPrm'), ('inheritable', 'CapInh'),
                          ('bounding', 'CapBnd'), ('ambient', 'CapAmb')):
            expect(f'{where}: {name}', thread['capabilities'][name], status[key])
    return ours


def check_process(process):
    pid = process['pid']
    for name, space in process['namespaces'].items():
        if space is None:
            expect(f'{name} namespace', os.path.exists(f'/proc/{pid}/ns/{name}'), False)
            continue
        expect(f'{name} namespace', f"{name}:[{space['id']}]", os.readlink(f'/proc/{pid}/ns/{name}'))
        expect(f'{name} namespace is ours', space['is_callers'],
               os.readlink(f'/proc/{pid}/ns/{name}') == os.readlink(f'/proc/self/ns/{name}'))
    expect('names in the root', process['root']['entries'], len(os.listdir(f'/proc/{pid}/root')))
    for fd in process['descriptors']:
        expect(f"descriptor {fd['fd']}", fd['target'], os.readlink(f"/proc/{pid}/fd/{fd['fd']}"))
    with open(f'/proc/{pid}/limits', encoding='utf-8') as f:
        core = re.search(r'^Max core file size +(\w+) +(\w+)', f.read(), re.M)
    for name, value in zip(('soft', 'hard'), core.groups()):
        seen = process['limits']['core'][name]
        expect(f'{name} limit of core dumps', 'unlimited' if seen is None else str(seen), value)


def check(report, disk, root):
    monitor, supervisor = report['processes'][:2]
    expect('first process', monitor['role'], 'monitor')
    expect('second process', supervisor['role'], 'supervisor')
    roles = [t['role'] for t in check_threads(monitor)]
    expect('threads', sorted(roles), ['loop', 'vcpu', 'vcpu'])
    check_threads(supervisor)
    check_process(monitor)
    kinds = {fd['kind'] for fd in monitor['descriptors']}
    if not {'kvm', 'io_uring', 'event', 'socket', 'file'} <= kinds:
        sys.exit(f'descriptors of these kinds only: {kinds}')
    expect('guest memory', report['memory']['guest_bytes'], 96 << 20)
    expect('memory in core dumps', report['memory']['in_core_dumps_bytes'], 0)
    expect('disks', [(d['path'], d['read_only_asked'], d['open'], d['writable']) for d in report['disks']],
           [(disk, True, True, False), ('other', False, True, True)])
    with open('/proc/sys/kernel/osrelease', encoding='utf-8') as f:
        expect('kernel', report['host']['kernel'], f.read().strip())
    for name, text in report['host']['vulnerabilities'].items():
        with open(f'/sys/devices/system/cpu/vulnerabilities/{name}', encoding='utf-8') as f:
            expect(name, text, f.read().strip())
    if root:
        expect('taps', sorted((t['name'], t['tables']) for t in report['taps']),
               [('kvmbox0', 'inet kvmbox0, netdev kvmbox0'), ('tap0', 'netdev kvmbox-edge0')])
        for tap in report['taps']:
            if not tap['drops']:
                sys.exit(f"no rule of the tap {tap['name']} drops anything")
        expect('rule firewall', [w['found'] for w in report['weaker'] if w['rule'] == 'firewall'], [])
    # What a jail is there for is found where there is none, and not where there is one.
    rules = {w['rule'] for w in report['weaker']}
    for rule, key, good in (('seccomp', 'seccomp', 'filter'), ('no-new-privs', 'no_new_privs', True)):
        expect(f'rule {rule}', rule in rules,
               any(t[key] != good for t in monitor['threads'] if t['role'] != 'kernel'))
    for namespace in ('mnt', 'net', 'pid'):
        expect(f'rule about the {namespace} namespace',
               any(f'no {namespace} namespace' in w['found'] for w in report['weaker']),
               monitor['namespaces'][namespace]['is_supervisors'])


def audit(kvmbox, *args):
    return subprocess.run([kvmbox, 'audit', *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, check=False)


def check_edge(kvmbox):
    """What is left without the rules at the card itself is too little, though it drops this and that."""
    if not shutil.which('nft'):
        return
    subprocess.run(['nft', 'delete', 'table', 'netdev', 'kvmbox0'], check=True)
    report = json.loads(audit(kvmbox, '--json', 'audited').stdout)
    expect('tables left', sorted(t['tables'] for t in report['taps']), ['inet kvmbox0', 'netdev kvmbox-edge0'])
    found = [w['found'] for w in report['weaker'] if w['rule'] == 'firewall']
    expect('findings without the rules at the card', [' tap kvmbox0:' in text for text in found], [True])


def await_vm(kvmbox, child):
    begin = time.monotonic()
    while time.monotonic() - begin < STARTING:
        done = audit(kvmbox, '--json', 'audited')
        if done.returncode in (0, 1):
            report = json.loads(done.stdout)
            # A vCPU's thread has its name when it runs.
            if sum(t['role'] == 'vcpu' for t in report['processes'][0]['threads']) == 2:
                return
        if child.poll() is not None:
            sys.exit(f'the machine has ended: {child.stderr.read()}')
        time.sleep(0.1)
    sys.exit(f'the machine does not start: {done.stderr}')


def set_up_network():
    subprocess.run('mount -t tmpfs own /run && ip link set lo up &&'
                   'ip tuntap add tap0 mode tap && ip link set tap0 up && ip link add uplink type veth peer name remote &&'
                   'ip addr add 192.0.2.1/24 dev uplink && ip link set uplink up && ip link set remote up &&'
                   'ip route add default via 192.0.2.2', shell=True, check=True)


def run(kvmbox, guest, own, root):
    disk = os.path.join(own, 'disk')
    for path in (disk, os.path.join(own, 'other')):
        with open(path, 'wb') as f:
            f.truncate(1 << 20)
    os.environ['KVMBOX_STATE'] = os.path.join(own, 'state')
    child = subprocess.Popen([kvmbox, 'boot', '--name', 'audited', '--kernel', guest, '--append', 'halt', '--cpus', '2',
                              '--mem', '96M', '--disk', disk + ',ro', '--disk', 'other',
                              *(['--net', 'nat', '--net', 'tap=tap0'] if root else []), '--', 'true'],
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                             cwd=own)
    try:
        await_vm(kvmbox, child)
        with open(os.path.join(own, 'state/audited/state.json'), encoding='utf-8') as f:
            expect('directory in state.json', json.load(f)['directory'], os.path.realpath(own))
        done = audit(kvmbox, '--json', 'audited')
        report = json.loads(done.stdout)
        check(report, disk, root)
        expect('exit status', done.returncode, 1 if report['weaker'] else 0)
        page = audit(kvmbox, 'audited')
        expect('exit status of the page', page.returncode, done.returncode)
        for finding in report['weaker']:
            if finding['found'].split()[0] not in page.stdout:
                sys.exit(f"not on the page: {finding['found']}")
        wide = [line for line in page.stdout.splitlines()
                if len(line) > 100 and max(map(len, line.split())) < 60]
        expect('lines that are too long', wide, [])
        if root:
            check_edge(kvmbox)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    # Its monitor may take a moment longer to die.
    begin = time.monotonic()
    while True:
        done = audit(kvmbox, 'audited')
        expect('exit status for one that has died', done.returncode, 125)
        if 'is not running' in done.stderr:
            return
        if 'has ended meanwhile' not in done.stderr or time.monotonic() - begin > STARTING:
            sys.exit(f'of one that has died: {done.stderr}')


def main():
    kvmbox, guest = map(os.path.abspath, sys.argv[1:3])
    root = os.geteuid() == 0 and os.path.exists('/dev/net/tun')
    if not os.access('/dev/kvm', os.R_OK | os.W_OK):
        skip('there is no usable /dev/kvm')
    if root and 'AUDIT_INSIDE' not in os.environ:
        os.environ['AUDIT_INSIDE'] = '1'
        os.execvp('unshare', ['unshare', '--net', '--mount', sys.executable, os.path.abspath(__file__), *sys.argv[1:]])
    if root:
        set_up_network()
    with tempfile.TemporaryDirectory() as own:
        run(kvmbox, guest, own, root)


main()
