/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the host and the guest's PID 1 (guest/init) say to each other.
 *
 * Transport: AF_VSOCK streams, all opened by the guest to the host
 * (CID KVMBOX_HOST_CID), one for each of the ports below.
 *
 *   KVMBOX_PORT_CONTROL  frames in both directions, see struct kvmbox_frame
 *   KVMBOX_PORT_STDIN    the workload's standard input, host to guest; with a
 *                        terminal, the terminal's bytes in both directions and
 *                        the only one of the three that is opened
 *   KVMBOX_PORT_STDOUT   standard output, guest to host
 *   KVMBOX_PORT_STDERR   standard error, guest to host
 *
 * A side ends its half of a byte stream with shutdown(SHUT_WR); the bytes sent
 * before it are all delivered. A stream that the host resets instead, or never
 * accepts, is to the workload a closed reader (or an empty standard input).
 *
 * Order: the guest connects the control stream first and sends HELLO as early
 * as it can. Then ERROR (any number, also none), STARTED (once, unless the
 * workload could not be run), and EXIT (once, the last frame of all: by then
 * every byte of output has been handed to the transport, the byte streams are
 * shut down and the root file system is clean). After EXIT the guest waits for
 * the host, which may still be reading, to end the machine; should it close the
 * control stream instead, the guest resets the machine itself.
 *
 * All integers are little-endian, all structures have no padding but what is
 * named. Either side treats the other's bytes as hostile: a frame whose len is
 * over KVMBOX_FRAME_MAX ends the control stream, a frame whose type is not
 * known is skipped, and so is one that is shorter than its structure; bytes
 * beyond the structure are ignored, so that a later version may append to it.
 */
#ifndef KVMBOX_AGENT_H
#define KVMBOX_AGENT_H

#include <stdint.h>

/* Raised when a peer of the version before could misread a frame. */
#define KVMBOX_AGENT_VERSION 1

#define KVMBOX_HOST_CID 2

#define KVMBOX_PORT_CONTROL 1024
#define KVMBOX_PORT_STDIN   1025
#define KVMBOX_PORT_STDOUT  1026
#define KVMBOX_PORT_STDERR  1027

/* The most bytes that may follow a struct kvmbox_frame. */
#define KVMBOX_FRAME_MAX 4096

/*
 * Where the guest's kernel shows the machine description, a directory with a
 * file for each property: the device tree's node, or, for a kernel without a
 * device tree, the same files in the initramfs. Encoding as in a device tree:
 * a string ends in NUL, a stringlist is strings one after the other, a u32 is
 * big-endian, an empty property is true by being there.
 *
 *   argv          stringlist  the workload, argv[0] looked up in PATH
 *   env           stringlist  optional, NAME=VALUE, over the defaults
 *   cwd           string      optional, "/" if not given
 *   hostname      string      optional
 *   terminal      empty       optional: the workload runs on a pseudo terminal
 *   winsize       u32 u32     optional: rows, columns of that terminal
 *   dns           stringlist  optional: addresses of DNS servers
 *   root/device   string      block device of the root file system
 *   root/fstype   string      its type, never guessed
 *   root/read-only  empty     optional: mount it read-only
 *   root/overlay    empty     optional: mount it read-only and lay a writable
 *                             tmpfs over it
 *   net0/mac      6 bytes     the network card with this address; net1 and so
 *                             on follow, up to the first that is not there
 *   net0/mtu      u32         optional, bytes
 *   net0/addresses  stringlist  optional, ADDRESS/PREFIX of IPv4 or IPv6
 *   net0/gateways   stringlist  optional, of default routes; a gateway need not
 *                             be in the network of an address
 *
 * With a network card, PID 1 lays an /etc/hosts with the hostname over the
 * root's own, and with DNS servers an /etc/resolv.conf.
 */
#define KVMBOX_DESCRIPTION_FDT_NODE "/kvmbox"
#define KVMBOX_DESCRIPTION_FDT      "/sys/firmware/devicetree/base/kvmbox"
#define KVMBOX_DESCRIPTION_CPIO     "/.kvmbox"

/* Precedes every frame's payload on the control stream. */
struct kvmbox_frame {
	uint16_t type;  /* enum kvmbox_frame_type */
	uint16_t flags; /* sent as 0, ignored */
	uint32_t len;   /* bytes of payload that follow */
};

enum kvmbox_frame_type {
	/* guest to host */
	KVMBOX_FRAME_HELLO = 1,   /* struct kvmbox_hello */
	KVMBOX_FRAME_STARTED = 2, /* struct kvmbox_started */
	KVMBOX_FRAME_EXIT = 3,    /* struct kvmbox_exit */
	KVMBOX_FRAME_ERROR = 4,   /* one sentence of UTF-8, no NUL, no newline */
	/* host to guest */
	KVMBOX_FRAME_SIGNAL = 128,   /* struct kvmbox_signal */
	KVMBOX_FRAME_WINSIZE = 129,  /* struct kvmbox_winsize */
	KVMBOX_FRAME_SHUTDOWN = 130, /* no payload: kill all now, end in order */
};

/* PID 1 runs. */
struct kvmbox_hello {
	uint32_t version; /* KVMBOX_AGENT_VERSION */
	uint32_t pad;
	uint64_t boot_ns; /* CLOCK_BOOTTIME at PID 1's first instruction */
};

/* The workload has been executed (its execve() succeeded). */
struct kvmbox_started {
	uint64_t boot_ns; /* CLOCK_BOOTTIME */
};

enum kvmbox_exit_kind {
	KVMBOX_EXIT_EXITED = 0,      /* value: exit status, 0 to 255 */
	KVMBOX_EXIT_SIGNALED = 1,    /* value: signal number */
	KVMBOX_EXIT_NOT_STARTED = 2, /* value: errno or 0; an ERROR said why */
};

/*
 * How the workload ended. A command that is not there or cannot be executed is
 * EXITED with 127 or 126, as a shell has it, after an ERROR; SHUTDOWN ends the
 * workload as SIGNALED with SIGKILL.
 */
struct kvmbox_exit {
	uint32_t kind; /* enum kvmbox_exit_kind */
	uint32_t value;
};

/* Signal for the workload; with a terminal, for its process group. */
struct kvmbox_signal {
	uint32_t signo; /* as Linux on x86_64 numbers them, 1 to 64 */
};

struct kvmbox_winsize {
	uint32_t rows; /* 1 to 65535 */
	uint32_t cols;
};

#ifdef __cplusplus
#define KVMBOX_AGENT_ASSERT(expr) static_assert(expr, #expr)
#else
#define KVMBOX_AGENT_ASSERT(expr) _Static_assert(expr, #expr)
#endif

KVMBOX_AGENT_ASSERT(sizeof(struct kvmbox_frame) == 8);
KVMBOX_AGENT_ASSERT(sizeof(struct kvmbox_hello) == 16);
KVMBOX_AGENT_ASSERT(sizeof(struct kvmbox_started) == 8);
KVMBOX_AGENT_ASSERT(sizeof(struct kvmbox_exit) == 8);
KVMBOX_AGENT_ASSERT(sizeof(struct kvmbox_signal) == 4);
KVMBOX_AGENT_ASSERT(sizeof(struct kvmbox_winsize) == 8);
KVMBOX_AGENT_ASSERT(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);

#undef KVMBOX_AGENT_ASSERT

#endif
