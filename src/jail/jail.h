// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <limits.h>
#include <linux/filter.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/loop.h"

/*
 * The walls around the monitor. What a host does not have is left out and noted; what it has and
 * what fails all the same is an error. jail.c has the stages in their order.
 */
enum jail_layer {
	JAIL_USER_NS,
	JAIL_ROOT, /* an empty root file system, in a mount namespace */
	JAIL_PID_NS,
	JAIL_NET_NS,
	JAIL_IPC_NS,
	JAIL_UTS_NS,
	JAIL_CGROUP_NS,
	JAIL_CGROUP, /* a cgroup v2 with limits */
	JAIL_ID,     /* a user and group id of its own */
	JAIL_BOUNDING,
	JAIL_LANDLOCK,
	JAIL_CORE_SCHED,
	JAIL_SECCOMP,
	JAIL_LAYERS
};

/* What a thread of the monitor is there for. */
enum jail_role { JAIL_LOOP, JAIL_WORKER, JAIL_VCPU, JAIL_ROLES };

/*
 * The most that may pass between the VM and a block device of the host in a second, besides what
 * holds a disk to its limit: for a monitor that does not keep to that. 0: no limit.
 */
struct jail_io {
	dev_t device;
	uint64_t read_bytes, written_bytes;
	uint64_t reads, writes;
};

#define JAIL_IO_MAX 16

/* What the jail is to be; 0 or NULL where nothing is asked for. */
struct jail_wish {
	const char *name; /* of the VM */
	unsigned int cpus;
	uint64_t mem_bytes;    /* of the guest */
	unsigned int workers;  /* loop threads besides the first, with their rings */
	uint64_t file_max;     /* bytes of the largest file among the disks */
	uint64_t file_memory;  /* of those that take the host's memory, when they are written to */
	uint64_t locked_bytes; /* memory that it is to be able to lock */
	unsigned int cpu_weight; /* 1 .. 10000 */
	unsigned int io_weight;  /* likewise */
	struct jail_io io[JAIL_IO_MAX];
	unsigned int nio;
};

struct jail {
	struct jail_wish wish;
	unsigned int left_out;   /* 1 << enum jail_layer: what the host does not have */
	unsigned int namespaces; /* CLONE_NEW*: what the monitor was started in */
	uid_t id;                /* of its own, user and group alike; 0: the caller's */
	char cgroup[PATH_MAX];   /* the directory of its cgroup; "": none */
	int cgroup_fd;           /* likewise; -1: none */
	int label_fd;            /* where the monitor asks for its AppArmor profile; -1: nowhere */
	int cgroup_lock;         /* until it is populated: nobody else is to remove it; -1: none */
	struct sock_fprog filters[JAIL_ROLES]; /* len 0: none */
};

/* A word for each layer. */
const char *jail_layer_name(enum jail_layer layer);

/* ---- outside, in the process that starts the monitor ---- */

/*
 * Make what the monitor is put into: its cgroup. Returns 0, with *@jail to be given to
 * jail_release() when the monitor is gone; or negative errno with the sentence in @err.
 */
int jail_prepare(struct jail *jail, const struct jail_wish *wish, struct error *err);
void jail_release(struct jail *jail);

/*
 * fork() into new namespaces and the cgroup. The calling process has one thread. Returns as fork()
 * does, with a descriptor for the child in *@pidfd; or negative errno with the sentence in @err.
 */
pid_t jail_fork(struct jail *jail, int *pidfd, struct error *err);

/*
 * Have the kernel hold the monitor to the @n of @io (io.max of its cgroup) instead of what it was
 * held to for the same devices. Where there is no cgroup, or no such file, or the kernel cannot
 * limit a device, nothing is done about it. Returns 0 or negative errno.
 */
int jail_limit_io(const struct jail *jail, const struct jail_io *io, unsigned int n);

/* Whether the end of the monitor whose cgroup this is was the kernel's, for want of memory. */
bool jail_ran_out_of_memory(const struct jail *jail);

/*
 * Enter a jail with a process that does nothing else. Returns 0, with what the host does not have
 * for one in *@left_out (1 << enum jail_layer); or negative errno with the sentence in @err.
 */
int jail_try(unsigned int *left_out, struct error *err);

/* ---- inside, in the monitor ---- */

/*
 * The stages that come before the machine is built: afterwards the process has what is open, and
 * nothing else. It has one thread. Returns 0, or negative errno with the sentence in @err.
 */
int jail_enter(struct jail *jail, struct error *err);

/*
 * The last stages, for the calling thread: its ring (NULL: it has none) takes only what is in use,
 * and no system call is left to it but those of its role. Everything that it needs has been set up.
 * Nothing happens where @jail is NULL. Returns 0 or negative errno.
 */
int jail_close(const struct jail *jail, enum jail_role role, struct loop *loop);
