// SPDX-License-Identifier: Apache-2.0
//
// Counts instructions: a plugin for QEMU's code generator (TCG), loaded into the QEMU that emulates
// a lab host by scripts/lab --instructions (-plugin instructions.so,out=FILE).
//
// An emulated CPU enters its guest with VMRUN, and whatever ends the guest's turn, the host goes on
// at the instruction behind: so a CPU is in guest mode from a VMRUN until the block at that address
// starts. The marker, a no-operation that no compiler makes (nopl "kvmb"(%rax,%rax)), writes a line
// "WHERE GUEST HOST": where it was executed (guest or host), and how many instructions guests and
// the host have executed so far, on all CPUs.
//
// A block is counted when it starts; one that is left in the middle (by a fault or an exit) has a
// few instructions counted twice. A string instruction with a repeat prefix counts once, not per
// round.

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// QEMU's interface for plugins, version 1, as far as it is used here; Debian has no header for it.
// https://www.qemu.org/docs/master/devel/tcg-plugins.html#plugin-api
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_info;
enum { CB_NO_REGS = 0 };
typedef void tb_trans_fn(uint64_t id, struct qemu_plugin_tb *tb);
typedef void exec_fn(unsigned int cpu, void *data);
int qemu_plugin_install(uint64_t id, const struct qemu_info *info, int argc, char **argv);
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, tb_trans_fn *fn);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, exec_fn *fn, int flags,
					  void *data);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, exec_fn *fn, int flags,
					    void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
#define EXPORT __attribute__((visibility("default")))
extern EXPORT int qemu_plugin_version;
EXPORT int qemu_plugin_version = 1;

enum { CPUS_MAX = 64, HOST = 0, GUEST = 1 };

static const uint8_t vmrun[] = { 0x0f, 0x01, 0xd8 };
static const uint8_t marker[] = { 0x0f, 0x1f, 0x84, 0x00, 'k', 'v', 'm', 'b' };

enum { RESUMES_MAX = 64 };

// Each is written by its own CPU's thread only; the marker reads them all.
static struct cpu {
	_Alignas(64) _Atomic uint64_t count[2];
	uint64_t resume;   // where the host goes on after its VMRUN
	uint64_t repeated; // the instruction with a repeat prefix that was the block before
	bool guest;
} cpus[CPUS_MAX];

// Where any VMRUN goes on: a few places in KVM.
static pthread_mutex_t resumes_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t resumes[RESUMES_MAX];
static size_t nresumes;
static FILE *out;

static uint64_t count_all(int mode)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < CPUS_MAX; i++)
		sum += atomic_load_explicit(&cpus[i].count[mode], memory_order_relaxed);
	return sum;
}

static void add(struct cpu *cpu, uint64_t insns)
{
	_Atomic uint64_t *count = &cpu->count[cpu->guest ? GUEST : HOST];
	uint64_t before = atomic_load_explicit(count, memory_order_relaxed);

	atomic_store_explicit(count, before + insns, memory_order_relaxed);
}

// All but the two below: @data is the number of instructions.
static void block_starts(unsigned int index, void *data)
{
	add(&cpus[index], (uintptr_t)data);
	cpus[index].repeated = 0;
}

// A block that is nothing but an instruction with a repeat prefix, at the address @data.
static void repeated_starts(unsigned int index, void *data)
{
	if (cpus[index].repeated != (uintptr_t)data)
		add(&cpus[index], 1);
	cpus[index].repeated = (uintptr_t)data;
}

// Before any other is told of a block at the address @data, at which a VMRUN goes on.
static void host_resumes(unsigned int index, void *data)
{
	if (cpus[index].resume == (uintptr_t)data)
		cpus[index].guest = false;
}

// At the address @data.
static void vmrun_executes(unsigned int index, void *data)
{
	cpus[index].resume = (uintptr_t)data + sizeof(vmrun);
	cpus[index].guest = true;
}

static void marker_executes(unsigned int index, void *data)
{
	(void)data;
	fprintf(out, "%s %" PRIu64 " %" PRIu64 "\n", cpus[index].guest ? "guest" : "host",
		count_all(GUEST), count_all(HOST));
	fflush(out);
}

static bool insn_is(const struct qemu_plugin_insn *insn, const uint8_t *bytes, size_t size)
{
	return qemu_plugin_insn_size(insn) == size &&
	       memcmp(qemu_plugin_insn_data(insn), bytes, size) == 0;
}

// Whether it is INS, OUTS, MOVS, CMPS, STOS, LODS or SCAS under a repeat prefix.
static bool insn_repeats(const struct qemu_plugin_insn *insn)
{
	const uint8_t *byte = qemu_plugin_insn_data(insn);
	const uint8_t *end = byte + qemu_plugin_insn_size(insn);
	bool prefix = false;

	for (; byte < end - 1; byte++)
		prefix |= *byte == 0xf2 || *byte == 0xf3;
	return prefix && ((*byte >= 0x6c && *byte <= 0x6f) || (*byte >= 0xa4 && *byte <= 0xa7) ||
			  (*byte >= 0xaa && *byte <= 0xaf));
}

// With resumes_lock.
static bool is_resume(uint64_t address)
{
	for (size_t i = 0; i < nresumes; i++)
		if (resumes[i] == address)
			return true;
	return false;
}

// With resumes_lock.
static void add_resume(uint64_t address)
{
	if (is_resume(address))
		return;
	if (nresumes == RESUMES_MAX)
		abort();
	resumes[nresumes++] = address;
}

static void block_translated(uint64_t id, struct qemu_plugin_tb *tb)
{
	size_t n = qemu_plugin_tb_n_insns(tb);
	struct qemu_plugin_insn *first = qemu_plugin_tb_get_insn(tb, 0);
	struct qemu_plugin_insn *last = qemu_plugin_tb_get_insn(tb, n - 1);
	void *start = (void *)(uintptr_t)qemu_plugin_insn_vaddr(first);
	void *end = (void *)(uintptr_t)qemu_plugin_insn_vaddr(last);

	(void)id;
	pthread_mutex_lock(&resumes_lock);
	if (is_resume((uintptr_t)start))
		qemu_plugin_register_vcpu_tb_exec_cb(tb, host_resumes, CB_NO_REGS, start);
	if (n == 1 && insn_repeats(first))
		qemu_plugin_register_vcpu_tb_exec_cb(tb, repeated_starts, CB_NO_REGS, start);
	else
		qemu_plugin_register_vcpu_tb_exec_cb(tb, block_starts, CB_NO_REGS, (void *)n);
	// VMRUN always ends a block.
	if (insn_is(last, vmrun, sizeof(vmrun))) {
		add_resume((uintptr_t)end + sizeof(vmrun));
		qemu_plugin_register_vcpu_insn_exec_cb(last, vmrun_executes, CB_NO_REGS, end);
	}
	pthread_mutex_unlock(&resumes_lock);
	for (size_t i = 0; i < n; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);

		if (insn_is(insn, marker, sizeof(marker)))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, marker_executes, CB_NO_REGS,
							       NULL);
	}
}

EXPORT int qemu_plugin_install(uint64_t id, const struct qemu_info *info, int argc, char **argv)
{
	static const char option[] = "out=";

	(void)info;
	if (argc != 1 || strncmp(argv[0], option, strlen(option)) != 0) {
		fputs("instructions.so takes one argument, out=FILE\n", stderr);
		return -1;
	}
	out = fopen(argv[0] + strlen(option), "we");
	if (!out) {
		perror(argv[0] + strlen(option));
		return -1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, block_translated);
	return 0;
}
