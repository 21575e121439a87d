// SPDX-License-Identifier: Apache-2.0
#include "boot/mptable.h"

#include <errno.h>
#include <string.h>

/*
 * Every input of the IOAPIC is an ISA interrupt of the same number, edge triggered and active high.
 * That is how KVM's own irqchips are wired unless KVM_SET_GSI_ROUTING says otherwise: the timer,
 * too, arrives at input 0, not at 2 as on a PC. Inputs above 15 are no ISA interrupts, but without
 * an entry of its own Linux would never program them, and their number is the IRQ that
 * "virtio_mmio.device=" means. IRQ 2 has no entry: the PIC's cascade takes it up.
 */
#define IOAPIC_PINS    24u
#define IRQ_CASCADE    2u
#define ISA_BUS        0u
#define ALL_APICS      0xffu
#define APIC_VERSION   0x14u
#define IOAPIC_VERSION 0x11u

enum {
	MP_PROCESSOR = 0,
	MP_BUS = 1,
	MP_IOAPIC = 2,
	MP_IO_INTERRUPT = 3,
	MP_LOCAL_INTERRUPT = 4,
};

enum { INT_VECTORED = 0, INT_NMI = 1, INT_EXTINT = 3 };

#define FLAGS_EDGE_HIGH 0x5u
#define CPU_ENABLED     0x1u
#define CPU_BOOT        0x2u
#define CPU_SIGNATURE   0x600u
#define CPU_FEATURES    0x201u /* FPU and APIC on chip */
#define IOAPIC_ENABLED  0x1u

struct mp_pointer {
	char signature[4];
	uint32_t table;
	uint8_t length; /* in units of 16 bytes */
	uint8_t spec;
	uint8_t checksum;
	uint8_t features[5];
};

struct mp_header {
	char signature[4];
	uint16_t length;
	uint8_t spec;
	uint8_t checksum;
	char oem[8];
	char product[12];
	uint32_t oem_table;
	uint16_t oem_size;
	uint16_t entries;
	uint32_t lapic;
	uint16_t ext_length;
	uint8_t ext_checksum;
	uint8_t reserved;
};

struct mp_cpu {
	uint8_t type;
	uint8_t apic_id;
	uint8_t apic_version;
	uint8_t flags;
	uint32_t signature;
	uint32_t features;
	uint32_t reserved[2];
};

struct mp_bus {
	uint8_t type;
	uint8_t id;
	char name[6];
};

struct mp_ioapic {
	uint8_t type;
	uint8_t apic_id;
	uint8_t version;
	uint8_t flags;
	uint32_t addr;
};

struct mp_interrupt { /* of the IOAPIC and of the local APICs alike */
	uint8_t type;
	uint8_t kind;
	uint16_t flags;
	uint8_t bus;
	uint8_t bus_irq;
	uint8_t apic_id;
	uint8_t apic_pin;
};

struct mp_table {
	struct mp_pointer pointer;
	struct mp_header header;
	uint8_t entries[BOOT_MPTABLE_MAX - sizeof(struct mp_pointer) - sizeof(struct mp_header)];
};

_Static_assert(sizeof(struct mp_pointer) == 16 && sizeof(struct mp_header) == 44 &&
		       sizeof(struct mp_cpu) == 20 && sizeof(struct mp_bus) == 8 &&
		       sizeof(struct mp_ioapic) == 8 && sizeof(struct mp_interrupt) == 8,
	       "as the MP specification lays them out");
_Static_assert(BOOT_CPUS_MAX * sizeof(struct mp_cpu) + sizeof(struct mp_bus) +
			       sizeof(struct mp_ioapic) +
			       (IOAPIC_PINS + 2) * sizeof(struct mp_interrupt) <=
		       sizeof(((struct mp_table *)0)->entries),
	       "the largest machine fits");

static uint8_t checksum(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint8_t sum = 0;

	while (len--)
		sum = (uint8_t)(sum + *p++);
	return (uint8_t)-sum;
}

static void add(struct mp_table *t, size_t *pos, const void *entry, size_t len)
{
	memcpy(t->entries + *pos, entry, len);
	*pos += len;
	t->header.entries++;
}

static void add_interrupt(struct mp_table *t, size_t *pos, struct mp_interrupt entry)
{
	add(t, pos, &entry, sizeof(entry));
}

int mptable_write(const struct guest_mem *mem, const struct machine *m)
{
	uint8_t ioapic_id = (uint8_t)m->cpus; /* the first that no CPU has */
	struct mp_table t = {
		.pointer = {
			.signature = { '_', 'M', 'P', '_' },
			.table = BOOT_MPTABLE_GPA + sizeof(t.pointer),
			.length = sizeof(t.pointer) / 16,
			.spec = 4,
		},
		.header = {
			.signature = { 'P', 'C', 'M', 'P' },
			.spec = 4,
			.oem = "KVMBOX ",
			.product = "MICROVM    ",
			.lapic = BOOT_LAPIC_GPA,
		},
	};
	size_t pos = 0;

	if (m->cpus == 0 || m->cpus > BOOT_CPUS_MAX)
		return -EINVAL;
	for (unsigned int i = 0; i < m->cpus; i++) {
		struct mp_cpu cpu = {
			.type = MP_PROCESSOR,
			.apic_id = (uint8_t)i,
			.apic_version = APIC_VERSION,
			.flags = CPU_ENABLED | (i == 0 ? CPU_BOOT : 0),
			.signature = CPU_SIGNATURE,
			.features = CPU_FEATURES,
		};

		add(&t, &pos, &cpu, sizeof(cpu));
	}
	struct mp_bus bus = { MP_BUS, ISA_BUS, { 'I', 'S', 'A', ' ', ' ', ' ' } };
	struct mp_ioapic ioapic = { MP_IOAPIC, ioapic_id, IOAPIC_VERSION, IOAPIC_ENABLED,
				    BOOT_IOAPIC_GPA };

	add(&t, &pos, &bus, sizeof(bus));
	add(&t, &pos, &ioapic, sizeof(ioapic));
	for (unsigned int i = 0; i < IOAPIC_PINS; i++) {
		if (i != IRQ_CASCADE)
			add_interrupt(&t, &pos,
				      (struct mp_interrupt){ MP_IO_INTERRUPT, INT_VECTORED,
							     FLAGS_EDGE_HIGH, ISA_BUS, (uint8_t)i,
							     ioapic_id, (uint8_t)i });
	}
	add_interrupt(&t, &pos,
		      (struct mp_interrupt){ MP_LOCAL_INTERRUPT, INT_EXTINT, 0, ISA_BUS, 0,
					     ALL_APICS, 0 });
	add_interrupt(
		&t, &pos,
		(struct mp_interrupt){ MP_LOCAL_INTERRUPT, INT_NMI, 0, ISA_BUS, 0, ALL_APICS, 1 });

	t.header.length = (uint16_t)(sizeof(t.header) + pos);
	t.header.checksum = checksum(&t.header, t.header.length);
	t.pointer.checksum = checksum(&t.pointer, sizeof(t.pointer));
	return guest_mem_write(mem, gpa(BOOT_MPTABLE_GPA), &t, sizeof(t.pointer) + t.header.length);
}
