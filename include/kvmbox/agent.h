/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the host and the guest's PID 1 (guest/init) say to each other.
 *
 * Transport: AF_VSOCK streams. Those of the workload are opened by the guest to
 * the host (CID KVMBOX_HOST_CID), one for each of the ports below; sessions,
 * further down, by the host to the guest's KVMBOX_PORT_AGENT.
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
 * Sessions. From before HELLO on, the guest listens on KVMBOX_PORT_AGENT for the
 * host, and for nobody else. Each connection is one session, and the host's
 * first frame says which:
 *
 *   EXEC     another command, in the workload's root. Guest: ERROR if any, then
 *            STARTED, DATA of standard output and error, and EXIT at the end,
 *            after all output. Host: DATA of standard input, SIGNAL, WINSIZE.
 *            A DATA frame without bytes is the end of that stream. Standard
 *            input has a window, so that whoever does not read it holds up
 *            neither signals nor the window's size: the host has at most
 *            KVMBOX_STDIN_WINDOW bytes under way, and the guest gives back by
 *            ROOM what the command has taken. With a terminal all output is
 *            standard output's. A host that goes away hangs the terminal up, or
 *            closes the pipes; the command lives on if it likes.
 *   FORWARD  from then on, bytes instead of frames, to and from the socket that
 *            is named; a half-close is passed on each way. An address that does
 *            not answer ends the session.
 *   PUT      files from the host: ENTRY frames, each file's DATA behind it, END.
 *            The guest answers with END, or with ERROR and the end of the
 *            session as soon as something cannot be written.
 *   GET      files for the host: ENTRY and DATA frames and END from the guest,
 *            or ERROR and the end of the session.
 *   HEALTH   the guest answers with HEALTH and ends the session.
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
#define KVMBOX_AGENT_VERSION 2

#define KVMBOX_HOST_CID 2

#define KVMBOX_PORT_CONTROL 1024
#define KVMBOX_PORT_STDIN   1025
#define KVMBOX_PORT_STDOUT  1026
#define KVMBOX_PORT_STDERR  1027

/* The guest's port that the host connects to. */
#define KVMBOX_PORT_AGENT 1024

/* The most bytes that may follow a struct kvmbox_frame. */
#define KVMBOX_FRAME_MAX 65536

/* Bytes of a session's standard input that may be under way. */
#define KVMBOX_STDIN_WINDOW 65536

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
 *   init          empty       optional: the workload is a system's init. It is
 *                             PID 1 of a PID and a mount namespace, which sessions
 *                             enter as well, with a pseudo terminal as its console;
 *                             without "terminal", what is written there is standard
 *                             output. SIGTERM reaches it as the signal by which it
 *                             shuts down, and a reboot(2) of its ends it as EXITED
 *                             with 0
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
	KVMBOX_FRAME_ROOM = 5,    /* struct kvmbox_room */
	/* host to guest */
	KVMBOX_FRAME_SIGNAL = 128,   /* struct kvmbox_signal */
	KVMBOX_FRAME_WINSIZE = 129,  /* struct kvmbox_winsize */
	KVMBOX_FRAME_SHUTDOWN = 130, /* no payload: kill all now, end in order */
	/* host to guest, first of a session */
	KVMBOX_FRAME_EXEC = 160,    /* struct kvmbox_exec */
	KVMBOX_FRAME_FORWARD = 161, /* "unix:PATH" or "tcp:ADDRESS:PORT", no NUL */
	KVMBOX_FRAME_PUT = 162,     /* struct kvmbox_copy */
	KVMBOX_FRAME_GET = 163,     /* struct kvmbox_copy */
	/* either way, in sessions */
	KVMBOX_FRAME_DATA = 192,   /* struct kvmbox_data, and bytes */
	KVMBOX_FRAME_ENTRY = 193,  /* struct kvmbox_entry, and its strings */
	KVMBOX_FRAME_END = 194,    /* no payload: there are no more files */
	KVMBOX_FRAME_HEALTH = 195, /* no payload from the host; struct kvmbox_health */
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

#define KVMBOX_EXEC_TERMINAL 1u /* on a pseudo terminal of rows and cols, if not 0 */
#define KVMBOX_EXEC_STDIN    2u /* with a standard input; else it is empty */

/*
 * Followed by argc + envc + 1 strings, each with its NUL: the command, looked
 * up in PATH; NAME=VALUE, over the workload's own environment; and the working
 * directory, "" for the workload's.
 */
struct kvmbox_exec {
	uint32_t flags; /* KVMBOX_EXEC_* */
	uint32_t rows;
	uint32_t cols;
	uint32_t argc; /* at least 1 */
	uint32_t envc;
};

/* What the command has taken off its standard input since the last ROOM. */
struct kvmbox_room {
	uint32_t bytes;
};

enum kvmbox_stream {
	KVMBOX_STREAM_IN = 0,
	KVMBOX_STREAM_OUT = 1,
	KVMBOX_STREAM_ERR = 2,
};

/* Bytes of a stream, or of the file that the last ENTRY began (stream: 0). */
struct kvmbox_data {
	uint32_t stream; /* enum kvmbox_stream */
};

/*
 * Followed by a path of the guest, absolute, with its NUL.
 *
 * GET: what is to be sent; the names of its entries begin with its last
 * component. PUT: where the entries go, and as in cp(1) the first one's name is
 * replaced by the path's last component unless the path is a directory that is
 * there, which then gets it by its own name.
 */
struct kvmbox_copy {
	uint32_t flags; /* KVMBOX_COPY_* */
};

#define KVMBOX_COPY_FOLLOW 1u /* GET: if the path is a symbolic link, what it leads to */

enum kvmbox_entry_type {
	KVMBOX_ENTRY_FILE = 1,      /* size bytes of DATA follow */
	KVMBOX_ENTRY_DIRECTORY = 2, /* before what is in it */
	KVMBOX_ENTRY_SYMLINK = 3,   /* has a target */
};

/*
 * Followed by its name and by its target (empty but for a symbolic link), each
 * with its NUL. The name is relative: components that are neither empty nor "."
 * nor "..", with one "/" between them. A receiver follows no symbolic link
 * below where the files go, and refuses an entry that would need it.
 */
struct kvmbox_entry {
	uint32_t type; /* enum kvmbox_entry_type */
	uint32_t mode; /* permission bits, 07777 */
	uint32_t uid;
	uint32_t gid;
	uint64_t size;   /* bytes, of a file */
	int64_t mtime_s; /* seconds since 1970 */
};

struct kvmbox_health {
	uint64_t boot_ns;         /* CLOCK_BOOTTIME */
	uint64_t memory_total;    /* bytes */
	uint64_t memory_free;     /* bytes that new programs can have (MemAvailable) */
	uint64_t processes;       /* that there are now, threads included */
	uint32_t load_hundredths; /* load average over a minute */
	uint32_t pad;
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
KVMBOX_AGENT_ASSERT(sizeof(struct kvmbox_exec) == 20);
KVMBOX_AGENT_ASSERT(sizeof(struct kvmbox_room) == 4);
KVMBOX_AGENT_ASSERT(sizeof(struct kvmbox_data) == 4);
KVMBOX_AGENT_ASSERT(sizeof(struct kvmbox_copy) == 4);
KVMBOX_AGENT_ASSERT(sizeof(struct kvmbox_entry) == 32);
KVMBOX_AGENT_ASSERT(sizeof(struct kvmbox_health) == 40);
KVMBOX_AGENT_ASSERT(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);

#undef KVMBOX_AGENT_ASSERT

#endif
