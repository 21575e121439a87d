// SPDX-License-Identifier: Apache-2.0
#include "test_boot.h"

#include <asm/bootparam.h>
#include <errno.h>
#include <libfdt.h>
#include <linux/kvm.h>

static const struct kernel_image with_tree = { .entry = 0x1000123,
					       .end = 0x1c00000,
					       .reads_device_tree = true };
static const struct kernel_image without_tree = { .entry = 0x1000000, .end = 0x1c00000 };
static const struct initrd no_initrd;

static struct guest_mem mem;
static struct machine machine;
static struct error err;

static void setup(void)
{
	static const char *const argv[] = { "true", NULL };

	mem = test_mem(32 * MIB);
	machine = (struct machine){
		.cpus = 2,
		.ndevices = 3,
		.devices = { { "virtio,mmio", 0xd0000000, 0x1000, 5, 0 },
			     { "virtio,mmio", 0xd0001000, 0x1000, 17, 0 },
			     { "qemu,pvpanic-mmio", 0xd0002000, 0x1000, -1, 0 } },
		.workload = { .argv = (char *const *)argv },
	};
	err.text[0] = '\0';
}

static void teardown(void)
{
	guest_mem_deinit(&mem);
}

TestSuite(boot_x86_64, .init = setup, .fini = teardown);

static void write_machine(const struct kernel_image *k, const char *cmdline)
{
	cr_assert_eq(boot_write_machine(&mem, &machine, k, &no_initrd, cmdline, &err), 0, "%s",
		     err.text);
}

static const struct boot_params *params(void)
{
	return guest_mem_ptr(&mem, gpa(BOOT_PARAMS_GPA), sizeof(struct boot_params));
}

static const char *cmdline_text(void)
{
	return guest_mem_ptr(&mem, gpa(params()->hdr.cmd_line_ptr), 1);
}

/* The entry of setup_data of this type, or NULL; the list must end. */
static const struct setup_data *setup_data(uint32_t type)
{
	uint64_t at = params()->hdr.setup_data;

	for (int i = 0; at && i < 8; i++) {
		const struct setup_data *d = guest_mem_ptr(&mem, gpa(at), sizeof(*d));

		cr_assert_not_null(d);
		cr_assert_leq(at + sizeof(*d), BOOT_EBDA_GPA);
		if (d->type == type)
			return d;
		at = d->next;
	}
	cr_assert_eq(at, 0);
	return NULL;
}

static void expect_e820(uint64_t ram, int n, const uint64_t (*want)[2])
{
	guest_mem_deinit(&mem);
	mem = test_mem(ram);
	write_machine(&with_tree, "");
	cr_assert_eq(params()->e820_entries, n);
	for (int i = 0; i < n; i++) {
		const struct boot_e820_entry *e = &params()->e820_table[i];

		cr_expect_eq(e->type, 1);
		cr_expect_eq(e->addr, want[i][0], "entry %d", i);
		cr_expect_eq(e->size, want[i][1] - want[i][0], "entry %d", i);
	}
}

Test(boot_x86_64, e820_of_all_sizes)
{
	expect_e820(32 * MIB, 2, (uint64_t[][2]){ { 0x1000, 0x9fc00 }, { MIB, 32 * MIB } });
	expect_e820(3 * GIB, 2, (uint64_t[][2]){ { 0x1000, 0x9fc00 }, { MIB, 3 * GIB } });
	expect_e820(3 * GIB + 4096, 3,
		    (uint64_t[][2]){
			    { 0x1000, 0x9fc00 }, { MIB, 3 * GIB }, { 4 * GIB, 4 * GIB + 4096 } });
	expect_e820(4 * GIB, 3,
		    (uint64_t[][2]){ { 0x1000, 0x9fc00 }, { MIB, 3 * GIB }, { 4 * GIB, 5 * GIB } });
	expect_e820(
		64 * GIB, 3,
		(uint64_t[][2]){ { 0x1000, 0x9fc00 }, { MIB, 3 * GIB }, { 4 * GIB, 65 * GIB } });
}

Test(boot_x86_64, setup_header)
{
	struct initrd rd = { .gpa = 0x1f00000, .size = 12345 };

	cr_assert_eq(boot_write_machine(&mem, &machine, &with_tree, &rd, "quiet", &err), 0);
	const struct setup_header *h = &params()->hdr;

	cr_expect_eq(h->boot_flag, 0xaa55);
	cr_expect_eq(h->header, 0x53726448);
	cr_expect_eq(h->version, 0x20f);
	cr_expect_eq(h->type_of_loader, 0xff);
	cr_expect(h->loadflags & LOADED_HIGH);
	cr_expect_eq(h->ramdisk_image, rd.gpa);
	cr_expect_eq(h->ramdisk_size, rd.size);
	cr_expect_eq(params()->sentinel, 0);
	cr_expect_eq(params()->acpi_rsdp_addr, 0);
	cr_expect_str_eq(cmdline_text(), "quiet");
}

Test(boot_x86_64, device_tree_for_a_kernel_that_reads_it)
{
	write_machine(&with_tree, "quiet");
	const struct setup_data *dtb = setup_data(SETUP_DTB);

	cr_assert_not_null(dtb);
	cr_expect_eq(fdt_check_full(dtb->data, dtb->len), 0);
	cr_expect_geq(fdt_path_offset(dtb->data, "/kvmbox"), 0);
	cr_expect_str_eq(cmdline_text(), "quiet");
	cr_expect_neq(memcmp(mem.base + BOOT_MPTABLE_GPA, "_MP_", 4), 0);
}

/* One piece that ends with base memory, so that it splits no range of the kernel's map. */
Test(boot_x86_64, setup_data_is_one_piece)
{
	write_machine(&with_tree, "quiet");
	const struct setup_data *seed = setup_data(SETUP_RNG_SEED);
	const struct setup_data *dtb = setup_data(SETUP_DTB);

	cr_expect_eq(dtb->data + dtb->len, (const uint8_t *)seed);
	cr_expect_eq(seed->data - mem.base, BOOT_EBDA_GPA);
}

Test(boot_x86_64, mp_table_and_command_line_for_any_other)
{
	write_machine(&without_tree, "quiet -- x");
	cr_expect_null(setup_data(SETUP_DTB));
	cr_expect_eq(memcmp(mem.base + BOOT_MPTABLE_GPA, "_MP_", 4), 0);
	cr_expect_str_eq(cmdline_text(), "virtio_mmio.device=0x1000@0xd0000000:5 "
					 "virtio_mmio.device=0x1000@0xd0001000:17 quiet -- x");
}

/* What a kernel has to say before it knows the tree, and its drivers, reaches the serial port. */
Test(boot_x86_64, early_console_where_the_tree_has_a_serial_port)
{
	machine.devices[machine.ndevices++] = (struct machine_device){
		.compatible = "ns16550a", .base = 0xd0019000, .size = 8, .irq = 4
	};
	write_machine(&with_tree, "quiet -- x");
	cr_expect_str_eq(cmdline_text(), "quiet earlycon=uart8250,mmio,0xd0019000 -- x");
	write_machine(&with_tree, "quiet --x=y");
	cr_expect_str_eq(cmdline_text(), "quiet --x=y earlycon=uart8250,mmio,0xd0019000 ");
	write_machine(&with_tree, "-- x");
	cr_expect_str_eq(cmdline_text(), "earlycon=uart8250,mmio,0xd0019000 -- x");
	write_machine(&with_tree, "");
	cr_expect_str_eq(cmdline_text(), "earlycon=uart8250,mmio,0xd0019000 ");
	write_machine(&without_tree, "quiet");
	cr_expect_null(strstr(cmdline_text(), "earlycon"));
	cr_expect_null(strstr(cmdline_text(), "0xd0019000"));
}

Test(boot_x86_64, each_machine_has_its_own_seed)
{
	const struct kernel_image *kernels[] = { &with_tree, &without_tree };
	uint8_t seeds[2][64];

	for (int i = 0; i < 2; i++) {
		write_machine(kernels[i], "");
		const struct setup_data *d = setup_data(SETUP_RNG_SEED);

		cr_assert_not_null(d);
		cr_assert_eq(d->len, 64);
		memcpy(seeds[i], d->data, 64);
	}
	cr_expect_neq(memcmp(seeds[0], seeds[1], 64), 0);
}

Test(boot_x86_64, command_line_length)
{
	char line[BOOT_CMDLINE_MAX + 1] = { 0 };

	memset(line, 'x', BOOT_CMDLINE_MAX - 1);
	write_machine(&with_tree, line);
	cr_expect_str_eq(cmdline_text(), line);

	cr_expect_eq(boot_write_machine(&mem, &machine, &without_tree, &no_initrd, line, &err),
		     -E2BIG);
	line[BOOT_CMDLINE_MAX - 1] = 'x';
	cr_expect_eq(boot_write_machine(&mem, &machine, &with_tree, &no_initrd, line, &err),
		     -E2BIG);
	cr_expect_str_eq(
		err.text,
		"the kernel command line of 2048 characters is too long: Linux takes 2047 here");
}

Test(boot_x86_64, refuses_machines_that_cannot_be)
{
	machine.cpus = 0;
	cr_expect_eq(boot_write_machine(&mem, &machine, &with_tree, &no_initrd, "", &err), -EINVAL);
	machine.cpus = BOOT_CPUS_MAX + 1;
	cr_expect_eq(boot_write_machine(&mem, &machine, &with_tree, &no_initrd, "", &err), -EINVAL);
	cr_expect_str_eq(err.text, "a guest has 1 to 32 CPUs, not 33");
	machine.cpus = 1;
	machine.ndevices = MACHINE_DEVICES_MAX + 1;
	cr_expect_eq(boot_write_machine(&mem, &machine, &with_tree, &no_initrd, "", &err), -EINVAL);
}

Test(boot_x86_64, arguments_too_long_for_the_tree)
{
	char *big = calloc(1, BOOT_FDT_MAX + 1);
	const char *const argv[] = { big, NULL };

	memset(big, 'x', BOOT_FDT_MAX);
	machine.workload.argv = (char *const *)argv;
	cr_expect_eq(boot_write_machine(&mem, &machine, &with_tree, &no_initrd, "", &err), -E2BIG);
	cr_expect(strstr(err.text, "too long: they share 252 KiB"), "%s", err.text);
	free(big);
}

/* Where the tables of boot_write_machine() translate @va to, as the CPU would walk them. */
static uint64_t translate(uint64_t cr3, uint64_t va)
{
	uint64_t table = cr3;

	for (int shift = 39; shift >= 21; shift -= 9) {
		uint64_t e;

		cr_assert_eq(guest_mem_read(&mem, gpa(table + (va >> shift & 511) * 8), &e, 8), 0);
		cr_assert_eq(e & 3, 3, "present and writable at %#llx", (unsigned long long)va);
		if (e & 0x80) {
			cr_assert_eq(shift, 21, "2 MiB pages only");
			return (e & ~0x1fffffull) + (va & 0x1fffff);
		}
		table = e & ~0xfffull;
	}
	cr_assert_fail("no page at %#llx", (unsigned long long)va);
	return 0;
}

Test(boot_x86_64, cpu_starts_in_long_mode_on_these_tables)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	uint64_t gdt[4];

	memset(&sregs, 0xff, sizeof(sregs));
	memset(&regs, 0xff, sizeof(regs));
	sregs.apic_base = 0xfee00900;
	write_machine(&with_tree, "");
	boot_cpu_state(&with_tree, &sregs, &regs);

	for (uint64_t va = 0x1234; va < 4 * GIB; va += 2 * MIB)
		cr_assert_eq(translate(sregs.cr3, va), va);
	cr_expect_eq(sregs.cr0, 0x80000011);
	cr_expect_eq(sregs.cr4, 0x20);
	cr_expect_eq(sregs.efer, 0x500);
	cr_expect_eq(sregs.apic_base, 0xfee00900);

	cr_expect_eq(sregs.gdt.limit, sizeof(gdt) - 1);
	cr_assert_eq(guest_mem_read(&mem, gpa(sregs.gdt.base), gdt, sizeof(gdt)), 0);
	cr_expect_eq(gdt[0], 0);
	cr_expect_eq(gdt[sregs.cs.selector / 8], 0x00af9b000000ffff);
	cr_expect_eq(gdt[sregs.ds.selector / 8], 0x00cf93000000ffff);
	cr_expect_eq(sregs.cs.selector, 0x10);
	cr_expect(sregs.cs.l && !sregs.cs.db && sregs.cs.present && sregs.cs.type == 0xb);
	cr_expect_eq(sregs.ss.selector, 0x18);
	cr_expect(sregs.ss.present && sregs.ss.type == 3 && !sregs.ss.unusable);

	cr_expect_eq(regs.rip, with_tree.entry);
	cr_expect_eq(regs.rsi, BOOT_PARAMS_GPA);
	cr_expect_eq(regs.rflags, 2, "interrupts off");
	cr_expect_eq(regs.rsp % 16, 0);
	cr_expect_not_null(guest_mem_ptr(&mem, gpa(regs.rsp - 512), 512));
}
