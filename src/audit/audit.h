// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <json-c/json.h>

#include "base/error.h"

/*
 * What is in force around a running VM, as the kernel tells it in /proc and /sys: nothing here is
 * asked of the VM's own processes. All text has been made fit for a terminal (text_keep()).
 */

#define AUDIT_UNLIMITED UINT64_MAX

enum audit_caps {
	AUDIT_CAPS_INHERITABLE,
	AUDIT_CAPS_PERMITTED,
	AUDIT_CAPS_EFFECTIVE,
	AUDIT_CAPS_BOUNDING,
	AUDIT_CAPS_AMBIENT,
	AUDIT_CAPS_SETS,
};

enum audit_role {
	AUDIT_THREAD_LOOP,   /* a monitor's first, which owns the devices */
	AUDIT_THREAD_VCPU,   /* by their names, as are the others of a monitor */
	AUDIT_THREAD_QUEUE,  /* of a disk */
	AUDIT_THREAD_KERNEL, /* made by the kernel (io_uring, KVM), and runs none of the program's
				code */
	AUDIT_THREAD_OTHER,
};

struct audit_thread {
	pid_t tid;
	char name[32];
	enum audit_role role;
	int seccomp;      /* 0 none, 1 strict, 2 filter; -1: the kernel does not say */
	int filters;      /* likewise */
	int no_new_privs; /* likewise */
	uint64_t caps[AUDIT_CAPS_SETS];
	uint32_t uid[4], gid[4]; /* real, effective, saved, file system */
	unsigned int ngroups;
	int cookie_error; /* of core scheduling: 0, or the errno with which it was not read */
	uint64_t cookie;  /* 0: none */
};

enum { AUDIT_NAMESPACES = 8 };

struct audit_namespace {
	const char *name;
	uint64_t id;    /* 0: not read */
	bool shared;    /* with the supervisor */
	bool of_caller; /* that of whoever audits */
};

struct audit_mount {
	char point[128];
	char type[32];
	bool read_only;
};

struct audit_limit {
	const char *name; /* as in /proc/PID/limits */
	const char *key;  /* as setrlimit(2) has it, in small letters */
	bool known;
	uint64_t soft, hard;
};

enum { AUDIT_LIMITS = 7, AUDIT_LIMIT_VALUES = 8 };

/* A file of a cgroup, or of one on the way up that says more than "max". */
struct audit_cgroup_value {
	const char *name;
	char value[160]; /* "": there is no such file */
};

struct audit_cgroup {
	bool known; /* there is a cgroup v2 */
	char path[256];
	bool own; /* nobody but the VM's processes is in it */
	struct audit_cgroup_value values[AUDIT_LIMIT_VALUES];
};

enum audit_fd_kind {
	AUDIT_FD_KVM,
	AUDIT_FD_RING,
	AUDIT_FD_EVENT, /* eventfd, timerfd, signalfd, pidfd, epoll */
	AUDIT_FD_SOCKET,
	AUDIT_FD_PIPE,
	AUDIT_FD_TAP,
	AUDIT_FD_TERMINAL,
	AUDIT_FD_DEVICE, /* any other character device */
	AUDIT_FD_FILE,   /* or block device */
	AUDIT_FD_LOCK,   /* an empty file that is locked */
	AUDIT_FD_DIRECTORY,
	AUDIT_FD_OTHER,
	AUDIT_FD_KINDS,
};

struct audit_fd {
	int number;
	enum audit_fd_kind kind;
	char target[256];
	char detail[32]; /* of a tap its name, of a socket its protocol; "": not known */
	bool reads, writes, direct;
	bool is_disk; /* one that was asked for */
	bool known;   /* dev and ino (of a block device: its number and 0) */
	dev_t dev;
	ino_t ino;
};

struct audit_process {
	const char *role; /* "monitor", "supervisor", "helper" */
	pid_t pid, parent;
	char name[32];
	struct audit_thread *threads;
	size_t nthreads;
	char apparmor[96];         /* its profile and the mode of that; "": not known */
	int dumpable;              /* 1, 0, or -1: it cannot be told of one that is root's */
	unsigned int same_user;    /* processes with its uid that are not the VM's */
	bool same_user_as_starter; /* the supervisor's */
	struct audit_namespace namespaces[AUDIT_NAMESPACES];
	char root[256];
	int root_entries; /* names in its root directory; -1: not read */
	bool root_of_caller;
	bool root_read_only; /* where there are mounts */
	struct audit_mount *mounts;
	size_t nmounts;
	struct audit_limit limits[AUDIT_LIMITS];
	struct audit_cgroup cgroup;
	struct audit_fd *fds;
	size_t nfds;
	bool fds_known;
};

/* The mappings of the monitor that hold guest memory: writable, without a file, and large. */
struct audit_memory {
	bool known;
	uint64_t ram_bytes;
	unsigned int mappings;
	uint64_t in_dumps_bytes;  /* of it: goes into a core dump */
	uint64_t mergeable_bytes; /* KSM may share it */
	uint64_t huge_bytes;      /* is in huge pages */
	uint64_t swapped_bytes;
	uint64_t locked_bytes;
	unsigned int write_exec; /* of all mappings: can be written and executed */
};

struct audit_disk {
	char path[256];
	bool read_only; /* asked for */
	bool open;      /* the monitor has it */
	bool writes, direct;
};

struct audit_tap {
	char name[32];
	bool known;       /* the firewall's rules were read */
	char tables[160]; /* that are about it: "inet kvmbox0, bridge filter" */
	unsigned int rules, drops;
	bool edge; /* nothing comes in by it but what a chain right behind it lets through */
};

struct audit_setting {
	char name[64];
	char value[192];
};

struct audit_host_state {
	char release[80];
	char mitigations[64]; /* mitigations=... of the kernel's command line, or "" */
	bool smt_known, smt;  /* hyperthreads are in use */
	bool ksm;             /* same-page merging runs */
	struct audit_setting *vulnerabilities;
	size_t nvulnerabilities;
	struct audit_setting *kvm; /* parameters of KVM's modules */
	size_t nkvm;
};

struct audit_finding {
	const char *rule; /* a word that stays the same */
	char found[640];  /* the sentence */
};

/* What is wanted for the verdict and could not be read. */
struct audit_unread {
	char what[64];
	char why[256];
};

struct audit_report {
	char name[64];
	uint64_t time;                   /* seconds since 1970 */
	uint32_t by;                     /* the uid of whoever audits */
	struct audit_process *processes; /* the monitor is the first, the supervisor the second */
	size_t nprocesses;
	struct audit_memory memory;
	struct audit_disk *disks;
	size_t ndisks;
	struct audit_tap *taps;
	size_t ntaps;
	struct audit_host_state host;
	struct audit_finding *findings; /* worst first */
	size_t nfindings;
	struct audit_unread *unread;
	size_t nunread;
	bool no_memory; /* something is missing, since there was none left */
};

/* Where to look. */
struct audit_host {
	int root; /* a directory with proc and sys in it */
	/* Returns 0 with the cookie of a thread's core scheduling, or negative errno. */
	int (*core_cookie)(pid_t tid, uint64_t *cookie);
	/* Returns 0 with all rules of the firewall as nft(8) has them in JSON, or negative errno.
	 */
	int (*firewall)(char **json, struct error *err);
};

/* This host. Its root is to be closed. */
int audit_host_open(struct audit_host *host);

struct audit_target {
	const char *name;
	pid_t supervisor, monitor;
	struct json_object
		*config;          /* as in state.json: the disks that were asked for; may be NULL */
	const char *directory;    /* likewise: which relative paths in it begin at; may be NULL */
	struct json_object *nets; /* likewise: the tables that its taps have */
};

/*
 * Read all of it and judge it. Returns 0; or negative errno with the sentence in @err: -ESRCH where
 * there is no such process, or not any more. The caller frees by audit_free() after either.
 */
int audit_read(const struct audit_host *host, const struct audit_target *target,
	       struct audit_report *report, struct error *err);
void audit_free(struct audit_report *report);

/* Note what could not be read, and why, which is made fit for a terminal. */
void audit_note_unread(struct audit_report *report, const char *what, const char *why);
void audit_note_errno(struct audit_report *report, const char *what, int errnum);

/*
 * Room for one more in a list of @n elements of @size bytes, zeroed. Returns NULL, with
 * report->no_memory set, where there is none.
 */
void *audit_grow(struct audit_report *report, void *list, size_t *n, size_t size);
