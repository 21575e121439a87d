// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>

#include "base/error.h"
#include "base/ip.h"
#include "mem/map.h"

/*
 * Putting a kernel into guest RAM and describing the machine to it.
 *
 * A kernel is an ELF vmlinux or a bzImage, whose payload is unpacked here, so that the guest never
 * decompresses. It is entered by the 64-bit Linux boot protocol (Documentation/arch/x86/boot.rst):
 * long mode, %rsi at boot_params.
 */

/* Where things go below 1 MiB; all of it is ordinary RAM to the kernel once it has been read. */
#define BOOT_GDT_GPA        0x500u
#define BOOT_PARAMS_GPA     0x7000u
#define BOOT_STACK_GPA      0x8ff0u
#define BOOT_PAGE_TABLE_GPA 0x9000u /* six pages: identity map of the low 4 GiB */
#define BOOT_CMDLINE_GPA    0x20000u
#define BOOT_CMDLINE_MAX    2048u    /* NUL included; Linux on x86 drops what is beyond */
#define BOOT_SETUP_DATA_GPA 0x30000u /* from here to BOOT_EBDA_GPA: room for setup_data */
#define BOOT_FDT_MAX        0x3f000u /* Linux maps at most 64 pages of it at once, at any offset */
#define BOOT_MPTABLE_GPA    0x10u    /* in the first KiB, where Linux looks first */
#define BOOT_MPTABLE_MAX    0x400u
#define BOOT_EBDA_GPA       0x9fc00u /* end of usable base memory in the e820 map */
#define BOOT_HIGH_GPA       0x100000u

/* Selectors of the GDT that a vCPU starts with. */
#define BOOT_CODE_SELECTOR 0x10u
#define BOOT_DATA_SELECTOR 0x18u

#define BOOT_IOAPIC_GPA 0xfec00000u
#define BOOT_LAPIC_GPA  0xfee00000u
#define BOOT_CPUS_MAX   32u

struct kernel_image {
	uint64_t entry;         /* 64-bit entry point, guest physical */
	uint64_t end;           /* first byte past the kernel, bss included */
	bool reads_device_tree; /* it has x86 device-tree support: it takes SETUP_DTB */
};

/*
 * Load the kernel in @fd (any position, regular file) into @mem. @path is only for words. ELF64
 * x86-64 executables, and bzImages of boot protocol 2.12 or later with a gzip, xz, zstd or lz4
 * payload. Returns 0, or negative errno with the sentence in @err. Every offset and length in the
 * file is taken for hostile.
 */
int boot_load_kernel(const struct guest_mem *mem, int fd, const char *path,
		     struct kernel_image *out, struct error *err);

struct initrd {
	uint64_t gpa; /* 0: none */
	uint64_t size;
};

/*
 * Load the initrd in @fd (-1: none) as high as possible in low RAM, page aligned, above
 * @kernel_end, followed by @extra_len bytes of @extra (a further cpio segment, 4-byte aligned; may
 * be NULL). With neither, *@out says that there is none. Returns 0, or negative errno with the
 * sentence in @err.
 */
int boot_load_initrd(const struct guest_mem *mem, int fd, const char *path, uint64_t kernel_end,
		     const void *extra, size_t extra_len, struct initrd *out, struct error *err);

/* A device on the guest's memory bus. */
struct machine_device {
	const char *compatible; /* device-tree binding: "virtio,mmio", "ns16550a", ... */
	uint64_t base;
	uint32_t size;
	int irq;           /* IOAPIC pin, rising edge; -1: none */
	uint32_t clock_hz; /* what clocks it, where the binding asks for that; 0: nothing said */
};

#define MACHINE_DEVICES_MAX 24

#define MACHINE_NETS_MAX 4
#define MACHINE_IPS_MAX  8

struct ip_list {
	struct ip_addr ips[MACHINE_IPS_MAX];
	unsigned int n;
};

/* How guest/init is to set up the network card with this MAC. */
struct machine_net {
	uint8_t mac[6];
	uint16_t mtu;             /* bytes; 0: as the card says */
	struct ip_list addresses; /* with their prefixes */
	struct ip_list gateways;  /* of default routes, one of each family at most */
};

/* What the guest runs, for guest/init; see include/kvmbox/agent.h for its encoding. */
struct machine_workload {
	char *const *argv;    /* NULL-terminated; NULL: the machine has no workload node */
	char *const *env;     /* NULL-terminated "NAME=VALUE", or NULL */
	const char *cwd;      /* or NULL */
	const char *hostname; /* or NULL */
	bool init;            /* it is a system's init */
	bool terminal;
	uint32_t rows, cols;     /* of the terminal; 0: unknown */
	const char *root_device; /* "/dev/vda" */
	const char *root_fstype; /* "erofs" */
	bool root_read_only;
	bool root_overlay;
	struct machine_net nets[MACHINE_NETS_MAX];
	unsigned int nnets;
	struct ip_list dns; /* servers */
};

/* The machine as its guest is to see it. Borrowed by the calls below. */
struct machine {
	unsigned int cpus; /* APIC ids 0 .. cpus - 1 */
	struct machine_device devices[MACHINE_DEVICES_MAX];
	unsigned int ndevices;
	uint64_t poweroff; /* address of a 32-bit register that ends the machine; 0: none */
	struct machine_workload workload;
};

/*
 * The machine as a flattened device tree (libfdt), at most @max bytes into @buf. Sets *@len.
 * Returns 0, or negative errno with the sentence in @err: -E2BIG when the workload's arguments and
 * environment do not fit, -ENOMEM.
 */
int boot_build_fdt(const struct machine *m, void *buf, size_t max, size_t *len, struct error *err);

/*
 * The machine's workload as a newc cpio segment with a file per property under /.kvmbox, for
 * kernels that read no device tree. *@out is allocated; the caller frees it. Returns 0, -ENOMEM.
 */
int boot_build_workload_cpio(const struct machine *m, void **out, size_t *len);

/*
 * Everything the kernel finds in memory at its entry, apart from itself and the initrd: boot_params
 * with the e820 map, command line, GDT, page tables, the device tree and a random seed
 * (SETUP_RNG_SEED) as setup_data for a kernel that reads_device_tree, with "earlycon=" for the
 * tree's serial port added to the kernel's part of the command line (what follows a "--" is for
 * init); for any other the seed, an MP table, and "virtio_mmio.device=" put before the command line
 * for each virtio device.
 * Returns 0, or negative errno with the sentence in @err (a command line that is too long, ...).
 */
int boot_write_machine(const struct guest_mem *mem, const struct machine *m,
		       const struct kernel_image *kernel, const struct initrd *initrd,
		       const char *cmdline, struct error *err);

/*
 * Registers of the boot vCPU at its first instruction: 64-bit mode on the page tables and GDT of
 * boot_write_machine(), interrupts off, at the kernel's entry point. @sregs comes as
 * KVM_GET_SREGS read it and keeps what is not named here (APIC base, TR, ...); @regs is all set.
 */
struct kvm_sregs;
struct kvm_regs;
void boot_cpu_state(const struct kernel_image *kernel, struct kvm_sregs *sregs,
		    struct kvm_regs *regs);
