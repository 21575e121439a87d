// SPDX-License-Identifier: Apache-2.0
#pragma once

/*
 * Runs a payload guest under the real monitor: vm_run() in a child, with the sockets and disks that
 * the supervisor would hand it, and keeps all that it says.
 *
 * A test is a main() that fills in what its machine is to be, calls payload_run(), checks what
 * happened on the host's side, and ends with payload_verdict().
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sys/types.h>

#include "backend/netport.h"
#include "base/bucket.h"
#include "pattern.h"
#include "vm/channel.h"

#define PAYLOAD_DISKS_MAX    4
#define PAYLOAD_CONNECTS_MAX 512

struct payload;

struct payload_disk {
	int fd; /* the image, already unlinked; -1: none */
	uint64_t size;
	bool read_only;
	bool buffered; /* no O_DIRECT */
	unsigned int queues;
	bool own_loops; /* each queue but the first on a thread of its own */
	bool sqpoll;
	bool fixed_buffers;
	struct limits limits;
};

struct payload {
	/* what to run; all but @path may stay as payload_init() left it */
	const char *path;
	const char *cmdline;
	unsigned int cpus;
	uint64_t mem_bytes;
	struct payload_disk disks[PAYLOAD_DISKS_MAX];
	unsigned int ndisks;
	struct netport *net; /* NULL: no network card */
	pid_t peer;          /* the process at its other end; 0: none */
	bool workload;       /* the machine has one, and therefore vsock */
	const void *input;   /* to write to the serial port */
	size_t input_len;
	bool read_console;           /* false: nobody reads what the guest prints */
	bool close_console;          /* nobody ever will: our end is closed as the guest starts */
	bool lazy_console;           /* read, but slowly */
	unsigned int stop_after_ms;  /* MESSAGE_STOP so long after MESSAGE_RUNNING; 0: never */
	unsigned int pause_every_ms; /* pause the machine, and let it go on at once; 0: never */
	const struct message *tell;  /* @ntell messages, so long after MESSAGE_RUNNING */
	unsigned int ntell, tell_after_ms;
	bool hang_up;                          /* then close the channel instead of saying so */
	bool partial;                          /* the payload does not come to "done" */
	unsigned int timeout_ms;               /* 0: as long as the slowest test takes */
	void (*on_running)(struct payload *p); /* after MESSAGE_RUNNING */
	/* The guest has connected to host port @port: our end. Only until payload_verdict(). */
	void (*on_connect)(struct payload *p, int fd, uint64_t port);

	/* what happened */
	pid_t monitor;
	bool running;           /* MESSAGE_RUNNING came */
	bool ended;             /* MESSAGE_ENDED came */
	struct message message; /* that one */
	int status;             /* of the monitor, as waitpid() has it */
	bool timed_out;
	char *console; /* NUL-terminated */
	size_t console_len;
	char *log; /* what the monitor wrote to stderr; NUL-terminated */
	size_t log_len;
	int connects[PAYLOAD_CONNECTS_MAX]; /* the host's ends of vsock connections */
	unsigned int nconnects;
	unsigned int pauses; /* that the monitor said were reached */
	unsigned int failures;
};

/* The machine of one run of the ELF file @path: a CPU, 64 MiB. Exits with 77 without /dev/kvm. */
void payload_init(struct payload *p, const char *path);

/*
 * Give the machine one more disk, a file of @size bytes in the working directory filled with the
 * pattern of pattern.h. Returns it, for what else is to be set.
 */
struct payload_disk *payload_add_disk(struct payload *p, uint64_t size);

/*
 * Give the machine a network card over a stream socket, as passt has one; at the other end is a
 * process that does what peer.h says.
 */
void payload_add_stream_net(struct payload *p);

/* Likewise, but all that the other end does is to send frames back. */
void payload_add_echo_net(struct payload *p);

/*
 * Likewise over a tap with @pairs queues, in a network namespace of its own. Exits with 77 where
 * that is not to be had.
 */
void payload_add_tap(struct payload *p, unsigned int pairs);

/* Set the tap payload0 up. Returns the host's end of it, a packet socket. */
int peer_open_tap(void);

/*
 * Start that process (peer.c) on @fd: a stream socket, or what peer_open_tap() returned. With
 * @echo_only it does nothing else that frames may ask for.
 */
pid_t peer_start(int fd, bool stream, bool echo_only);

void payload_run(struct payload *p);

/* Note a failure of the test unless @good. */
void payload_expect(struct payload *p, bool good, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The last @len bytes that the payload printed, or all, without what is not text. Free it. */
char *payload_console_tail(const struct payload *p, size_t len);

/* That the machine ended for reason @why, and the monitor in order. */
void payload_expect_end(struct payload *p, enum vm_end why);

/* That the monitor's log has @text, so many lines with it. */
unsigned int payload_count_log(const struct payload *p, const char *text);
void payload_expect_log(struct payload *p, const char *text);

/* That @len bytes of disk @i at @off are @want, or as the pattern has them where @want is NULL. */
void payload_expect_disk(struct payload *p, unsigned int i, uint64_t off, const void *want,
			 size_t len);

/* The same for a block that the payload wrote as its number @seed. */
void payload_expect_block(struct payload *p, unsigned int i, uint64_t off, uint32_t seed,
			  size_t len);

/* Judge what the payload printed. Then free everything. Returns whether all was well. */
bool payload_verdict(struct payload *p);
