// SPDX-License-Identifier: Apache-2.0
/* What a kernel finds at its entry: the CPU, boot_params and what hangs from it, the bus. */
#include <asm/bootparam.h>

#include "lib/payload.h"
#include "lib/virtio.h"

#define SETUP_MAGIC  0x53726448u /* "HdrS" */
#define FDT_MAGIC    0xd00dfeedu
#define MP_MAGIC     0x5f504d5fu /* "_MP_" */
#define SEED_BYTES   64
#define BASE_RAM_END 0x9fc00u

#ifdef TREE
/* What tells the loader that a kernel reads device trees. */
static const char mark[] __attribute__((used)) = "intel,ce4100-lapic";
#endif

static void check_cpuid(void)
{
	struct cpuid c = cpuid(1, 0);

	expect("cpuid.hypervisor", c.ecx >> 31, "the hypervisor bit is clear");
	expect("cpuid.no-vmx", !(c.ecx & 1u << 5), "VMX is offered");
	expect_eq("cpuid.apic-id", c.ebx >> 24, 0);
	expect_eq("cpuid.logical-cpus", c.ebx >> 16 & 0xff, 2);
	expect("cpuid.htt", c.edx & 1u << 28, "HTT is clear with two CPUs");
	c = cpuid(0x40000000, 0);
	expect("cpuid.kvm", c.ebx == 0x4b4d564b && c.ecx == 0x564b4d56 && c.edx == 0x4d,
	       "no KVM signature");
	if (cpuid(0, 0).eax < 0xb) {
		skip("cpuid.topology", "this CPU has no leaf 0xb");
		return;
	}
	c = cpuid(0xb, 0);
	expect("cpuid.topology.thread",
	       c.eax == 0 && (c.ebx & 0xffff) == 1 && c.ecx == 0x100 && c.edx == 0,
	       "not one thread a core");
	c = cpuid(0xb, 1);
	expect("cpuid.topology.core",
	       c.eax == 1 && (c.ebx & 0xffff) == 2 && c.ecx == 0x201 && c.edx == 0,
	       "not two cores");
	c = cpuid(0xb, 2);
	expect("cpuid.topology.end", !c.ebx && !(c.ecx >> 8), "a third level");
}

static void check_params(const struct boot_params *bp)
{
	expect_eq("params.flag", bp->hdr.boot_flag, 0xaa55);
	expect_eq("params.magic", bp->hdr.header, SETUP_MAGIC);
	expect("params.version", bp->hdr.version >= 0x20c, "too old for 64-bit entry");
	expect("params.xloadflags", bp->hdr.xloadflags & XLF_KERNEL_64, "no 64-bit entry");
#ifdef TREE
	expect_eq("params.no-initrd", bp->hdr.ramdisk_size, 0);
#else
	/* What has no device tree finds its workload in a cpio segment. */
	expect("params.workload",
	       bp->hdr.ramdisk_size > 110 &&
		       !memcmp((void *)(uintptr_t)bp->hdr.ramdisk_image, "070701", 6),
	       "no cpio segment");
#endif

	const char *cmdline = (const char *)(uintptr_t)bp->hdr.cmd_line_ptr;
#ifdef TREE
	expect("cmdline",
	       !strcmp(cmdline, "payload=boot and=so on=1 "
				"earlycon=uart8250,mmio,0xd0019000 "),
	       cmdline);
#else
	expect("cmdline",
	       cmdline_has("virtio_mmio.device=0x1000@0xd0000000:16") &&
		       cmdline_has("virtio_mmio.device=0x1000@0xd0001000:17") &&
		       cmdline_has("payload=boot") && cmdline_has("on=1"),
	       cmdline);
#endif
}

static void check_memory_map(const struct boot_params *bp)
{
	expect_eq("e820.entries", bp->e820_entries, 2);
	expect("e820.low",
	       bp->e820_table[0].addr == 0x1000 &&
		       bp->e820_table[0].size == BASE_RAM_END - 0x1000 &&
		       bp->e820_table[0].type == 1,
	       "not 4 KiB to 639 KiB");
	expect("e820.high",
	       bp->e820_table[1].addr == 0x100000 && bp->e820_table[1].type == 1 &&
		       low_ram_end() == 64u << 20,
	       "not 1 MiB to 64 MiB");
	/* The last bytes are there. */
	volatile uint64_t *last = (volatile uint64_t *)(uintptr_t)(low_ram_end() - 8);

	*last = 0x1122334455667788ull;
	expect_eq("e820.last", *last, 0x1122334455667788ull);
	expect_eq("e820.beyond", read64(low_ram_end()), ~0ull);
}

#ifndef TREE
/* Where Linux looks for it: the first KiB, and then the last of base memory. 0: not there. */
static uint64_t find_mptable(void)
{
	static const uint64_t places[] = { 0, BASE_RAM_END - 0x400, BASE_RAM_END };

	for (unsigned int i = 0; i < ARRAY_SIZE(places); i++)
		for (uint64_t at = places[i]; at < places[i] + 0x400; at += 16)
			if (read32(at) == MP_MAGIC)
				return at;
	return 0;
}

static void check_mptable(void)
{
	uint64_t at = find_mptable();
	uint8_t sum = 0;

	expect("mptable.signature", at, "not there");
	for (int i = 0; at && i < 16; i++)
		sum = (uint8_t)(sum + read8(at + (uint64_t)i));
	expect_eq("mptable.checksum", sum, 0);
}
#endif

static void check_setup_data(const struct boot_params *bp)
{
	const struct setup_data *tree = NULL, *seed = NULL;
	unsigned int n = 0;

	for (uint64_t at = bp->hdr.setup_data; at && n < 8; n++) {
		const struct setup_data *d = (const struct setup_data *)at;

		if (d->type == SETUP_DTB)
			tree = d;
		else if (d->type == SETUP_RNG_SEED)
			seed = d;
		at = d->next;
	}
#ifdef TREE
	expect_eq("setup-data.nodes", n, 2);
	expect("setup-data.tree", tree && tree->len > 100, "no device tree");
	if (tree) {
		const uint32_t *t = (const uint32_t *)tree->data;

		expect_eq("tree.magic", __builtin_bswap32(t[0]), FDT_MAGIC);
		uint32_t size = __builtin_bswap32(t[1]);

		expect("tree.size", size <= tree->len && tree->len - size < 8, "not its size");
	}
#else
	expect_eq("setup-data.nodes", n, 1);
	expect("setup-data.no-tree", !tree, "a device tree for a kernel that reads none");
	check_mptable();
#endif
	expect("setup-data.seed", seed && seed->len == SEED_BYTES, "no random seed");
	if (seed) {
		uint8_t any = 0;

		for (unsigned int i = 0; i < SEED_BYTES; i++)
			any |= seed->data[i];
		expect("setup-data.seed.filled", any, "all zero");
	}
}

static void check_bus(void)
{
	static const uint32_t ids[] = { VIRTIO_ID_BLOCK, VIRTIO_ID_RNG, VIRTIO_ID_VSOCK,
					VIRTIO_ID_BALLOON };

	for (unsigned int i = 0; i < ARRAY_SIZE(ids); i++) {
		uint64_t base = DEVICE_BASE + i * DEVICE_STRIDE;

		expect_eq("bus.magic", read32(base + VIRTIO_MMIO_MAGIC_VALUE), VIRTIO_MAGIC);
		expect_eq("bus.version", read32(base + VIRTIO_MMIO_VERSION), 2);
		expect_eq("bus.id", read32(base + VIRTIO_MMIO_DEVICE_ID), ids[i]);
		expect_eq("bus.status", read32(base + VIRTIO_MMIO_STATUS), 0);
	}
	expect_eq("bus.pvpanic", read8(DEVICE_BASE + 4 * DEVICE_STRIDE), 3);
	expect("bus.end", read32(DEVICE_BASE + 5 * DEVICE_STRIDE) != VIRTIO_MAGIC,
	       "a device that was not ordered");
}

void payload_main(void)
{
	check_cpuid();
	check_params(boot_params());
	check_memory_map(boot_params());
	check_setup_data(boot_params());
	check_bus();
}
