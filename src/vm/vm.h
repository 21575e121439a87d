// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "backend/disk.h"
#include "backend/netport.h"
#include "boot/boot.h"
#include "jail/jail.h"
#include "device/balloon.h"

#define VM_DISKS_MAX (CONFIG_DISKS_MAX + 1) /* the user's, and the root */

/*
 * A virtual machine as the supervisor hands it over: every name is resolved, every file open. All
 * of it is borrowed, but for the disks and the network ports, which the machine takes.
 */
struct vm_spec {
	int kvm_fd;
	unsigned int cpus;
	uint64_t mem_bytes;
	int kernel_fd;
	const char *kernel_path; /* for words */
	int initrd_fd;           /* -1: none */
	const char *initrd_path;
	const char *cmdline;
	struct {
		struct disk *disk;
		const char *serial;
		unsigned int queues;
		bool own_loops;     /* each queue but the first gets a loop thread of its own */
		bool sqpoll;        /* each queue does, and a kernel thread polls for them all */
		bool fixed_buffers; /* guest memory is registered with the loops that serve it */
		struct limits limits;
	} disks[VM_DISKS_MAX];
	unsigned int ndisks;
	struct {
		struct netport *port;
		uint8_t mac[6];
		uint16_t mtu; /* bytes; 0: the guest is told of none */
		struct limits rx_limits, tx_limits;
	} nets[CONFIG_NETS_MAX];
	unsigned int nnets;
	struct balloon_spec balloon;
	struct machine_workload workload; /* argv NULL: none, and no agent channel (vsock) */
	int channel;                      /* SOCK_SEQPACKET to the supervisor */
	int console;                      /* SOCK_STREAM: the serial port's bytes both ways */
	const struct jail *jail; /* that the process is in, and its threads are to be; NULL: none */
};

/* Threads that it has for queues of disks, besides that of its loop. */
unsigned int vm_count_workers(const struct vm_spec *spec);

/*
 * Whether the machine has a balloon: not where memory is pinned, since what a guest gave up would
 * come to nobody, nor where all interrupt lines are needed for something else.
 */
bool vm_has_balloon(const struct vm_spec *spec);

/*
 * The monitor: run the machine on this thread and its vCPUs' until it ends, and say over the
 * channel what becomes of it, MESSAGE_ENDED last. The calling process is the monitor's own.
 */
void vm_run(const struct vm_spec *spec);
