// SPDX-License-Identifier: Apache-2.0
#include "boot/boot.h"

#include <errno.h>
#include <libfdt.h>
#include <stdio.h>
#include <string.h>

#include "boot/image.h"
#include "boot/workload.h"

/*
 * What Linux makes of a device tree on x86 (arch/x86/kernel/devicetree.c): it takes the CPUs and
 * the IOAPIC from it, under the name of Intel's CE4100, the only x86 machine that ever had one, and
 * what is on a simple-bus becomes platform devices. Memory, command line, initrd and random seed
 * are not read from it: they come from boot_params.
 *
 * The local APIC has no node, which means that it is where every PC has it. (A node could say
 * "intel,virtual-wire-mode", and Linux would then drop the PIC's legacy interrupts, which a kernel
 * needs that finds the serial port at 0x3f8 and not in the tree. Ours has done away with them, see
 * guest/kernel/patches.) Each property costs the guest a file in sysfs, so there are only those
 * that something reads.
 */
#define IOAPIC_PHANDLE     1u
#define SYSCON_PHANDLE     2u
#define IOAPIC_EDGE_RISING 3u /* second interrupt cell; the binding's own encoding */
#define APIC_WINDOW        0x1000u
#define CELLS_ADDRESS      2u /* of the root and of the bus */
#define CELLS_SIZE         1u

/* A tree under construction. The first failure sticks; what follows it is harmless and in vain. */
struct tree {
	void *fdt;
	int ret; /* 0, or libfdt's negative error */
};

static void note(struct tree *t, int ret)
{
	if (!t->ret)
		t->ret = ret;
}

static void node_begin(struct tree *t, const char *name)
{
	note(t, fdt_begin_node(t->fdt, name));
}

static void node_end(struct tree *t)
{
	note(t, fdt_end_node(t->fdt));
}

static void put_bytes(struct tree *t, const char *name, const void *data, size_t len)
{
	note(t, len > BOOT_FDT_MAX ? -FDT_ERR_NOSPACE : fdt_property(t->fdt, name, data, (int)len));
}

static void put_flag(struct tree *t, const char *name)
{
	put_bytes(t, name, NULL, 0);
}

static void put_string(struct tree *t, const char *name, const char *s)
{
	put_bytes(t, name, s, strlen(s) + 1);
}

static void put_u32(struct tree *t, const char *name, uint32_t v)
{
	note(t, fdt_property_u32(t->fdt, name, v));
}

static void put_reg(struct tree *t, uint64_t base, uint32_t size)
{
	fdt32_t reg[CELLS_ADDRESS + CELLS_SIZE] = {
		cpu_to_fdt32((uint32_t)(base >> 32)),
		cpu_to_fdt32((uint32_t)base),
		cpu_to_fdt32(size),
	};

	put_bytes(t, "reg", reg, sizeof(reg));
}

static void add_cpus(struct tree *t, unsigned int cpus)
{
	node_begin(t, "cpus");
	put_u32(t, "#address-cells", 1);
	put_u32(t, "#size-cells", 0);
	for (unsigned int i = 0; i < cpus; i++) {
		char name[16];

		snprintf(name, sizeof(name), "cpu@%x", i);
		node_begin(t, name);
		put_string(t, "device_type", "cpu");
		put_u32(t, "reg", i);
		node_end(t);
	}
	node_end(t);
}

static void add_ioapic(struct tree *t)
{
	char name[48];

	snprintf(name, sizeof(name), "interrupt-controller@%x", BOOT_IOAPIC_GPA);
	node_begin(t, name);
	put_string(t, "compatible", "intel,ce4100-ioapic");
	put_reg(t, BOOT_IOAPIC_GPA, APIC_WINDOW);
	put_flag(t, "interrupt-controller");
	put_u32(t, "#interrupt-cells", 2);
	put_u32(t, "phandle", IOAPIC_PHANDLE);
	node_end(t);
}

static void add_device(struct tree *t, const struct machine_device *dev)
{
	const char *comma = strchr(dev->compatible, ',');
	char name[64];

	snprintf(name, sizeof(name), "%.40s@%llx", comma ? comma + 1 : dev->compatible,
		 (unsigned long long)dev->base);
	node_begin(t, name);
	put_string(t, "compatible", dev->compatible);
	put_reg(t, dev->base, dev->size);
	if (dev->irq >= 0) {
		fdt32_t cells[2] = { cpu_to_fdt32((uint32_t)dev->irq),
				     cpu_to_fdt32(IOAPIC_EDGE_RISING) };

		put_bytes(t, "interrupts", cells, sizeof(cells));
	}
	if (dev->clock_hz)
		put_u32(t, "clock-frequency", dev->clock_hz);
	node_end(t);
}

/*
 * "syscon-poweroff": writing the value to a register of the system controller ends the machine.
 * Like the IOAPIC, the controller is not on the bus: Linux finds it by its phandle and would only
 * make an idle device of it there.
 */
static void add_syscon(struct tree *t, uint64_t addr)
{
	char name[48];

	snprintf(name, sizeof(name), "syscon@%llx", (unsigned long long)addr);
	node_begin(t, name);
	put_string(t, "compatible", "syscon");
	put_reg(t, addr, 4);
	put_u32(t, "phandle", SYSCON_PHANDLE);
	node_end(t);
}

static void add_poweroff(struct tree *t)
{
	node_begin(t, "poweroff");
	put_string(t, "compatible", "syscon-poweroff");
	put_u32(t, "regmap", SYSCON_PHANDLE);
	put_u32(t, "offset", 0);
	put_u32(t, "value", 1);
	node_end(t);
}

static void add_bus(struct tree *t, const struct machine *m)
{
	node_begin(t, "bus");
	put_string(t, "compatible", "simple-bus");
	put_u32(t, "#address-cells", CELLS_ADDRESS);
	put_u32(t, "#size-cells", CELLS_SIZE);
	put_flag(t, "ranges");
	put_u32(t, "interrupt-parent", IOAPIC_PHANDLE);
	for (unsigned int i = 0; i < m->ndevices; i++)
		add_device(t, &m->devices[i]);
	if (m->poweroff)
		add_poweroff(t);
	node_end(t);
}

static int add_workload_property(void *ctx, const char *name, const void *data, size_t len)
{
	put_bytes(ctx, name, data, len);
	return 0;
}

/* Returns 0 or -ENOMEM. */
static int add_workload(struct tree *t, const struct machine_workload *w)
{
	node_begin(t, "kvmbox");
	int ret = workload_properties(w, add_workload_property, t);

	if (ret)
		return ret;
	if (w->root_device) {
		node_begin(t, "root");
		ret = workload_root_properties(w, add_workload_property, t);
		if (ret)
			return ret;
		node_end(t);
	}
	for (unsigned int i = 0; i < w->nnets; i++) {
		char name[16];

		snprintf(name, sizeof(name), "net%u", i);
		node_begin(t, name);
		ret = workload_net_properties(&w->nets[i], add_workload_property, t);
		if (ret)
			return ret;
		node_end(t);
	}
	node_end(t);
	return 0;
}

int boot_build_fdt(const struct machine *m, void *buf, size_t max, size_t *len, struct error *err)
{
	size_t room = max < BOOT_FDT_MAX ? max : BOOT_FDT_MAX;
	struct tree t = { .fdt = buf };

	note(&t, fdt_create(buf, (int)room));
	note(&t, fdt_finish_reservemap(buf));
	node_begin(&t, "");
	put_string(&t, "compatible", "kvmbox");
	put_u32(&t, "#address-cells", CELLS_ADDRESS);
	put_u32(&t, "#size-cells", CELLS_SIZE);
	add_cpus(&t, m->cpus);
	add_ioapic(&t);
	if (m->poweroff)
		add_syscon(&t, m->poweroff);
	add_bus(&t, m);
	if (m->workload.argv && add_workload(&t, &m->workload))
		return error_set(err, ENOMEM, "no memory to build the guest's device tree");
	node_end(&t);
	note(&t, fdt_finish(buf));

	if (t.ret == -FDT_ERR_NOSPACE)
		return error_set(err, E2BIG,
				 "the command's arguments and environment are too long: they share "
				 "%s with the machine's description",
				 SIZE_TEXT(room));
	if (t.ret)
		return error_set(err, EINVAL, "cannot build the guest's device tree: %s",
				 fdt_strerror(t.ret));
	*len = fdt_totalsize(buf);
	return 0;
}
