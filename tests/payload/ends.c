// SPDX-License-Identifier: Apache-2.0
/* Every way for a machine to end, by the word on the command line. */
#include "lib/payload.h"
#include "lib/virtio.h"

#define PVPANIC_PANICKED    0x01
#define PVPANIC_CRASHLOADED 0x02

/* Right behind the virtio devices. */
static uint64_t pvpanic(void)
{
	uint64_t base = DEVICE_BASE;

	while (read32(base) == VIRTIO_MAGIC)
		base += DEVICE_STRIDE;
	return base;
}

static void triple_fault(void)
{
	print("ok triple\n");
	asm volatile("mov $0x1122334455667788, %%rbx\n\t"
		     "mov $0x5eed, %%r15\n\t"
		     "ud2"
		     :
		     :
		     : "rbx", "r15");
}

static void panic(uint8_t event)
{
	write8(pvpanic(), event);
	/* The machine goes on, for the kernel to say why. */
	print("ok alive-after-event\n");
}

void payload_main(void)
{
	if (cmdline_has("triple"))
		triple_fault();
	if (cmdline_has("panic"))
		panic(PVPANIC_PANICKED);
	if (cmdline_has("crashload"))
		panic(PVPANIC_CRASHLOADED);
	if (cmdline_has("nopanic"))
		panic(0x80);
	if (cmdline_has("spin"))
		for (;;)
			;
	if (cmdline_has("halt"))
		for (;;)
			asm volatile("cli; hlt");
	if (cmdline_has("shout"))
		for (;;)
			outb(SERIAL_PORT, 'x');
	if (cmdline_has("exits"))
		for (;;)
			relax();
	if (cmdline_has("output-port")) {
		print("ok output-port\ndone\n");
		outb(0x64, 0xd1);
		outb(0x60, 0xfe);
		/* Another thread takes the machine down. */
		for (;;)
			;
	}
	print("ok end\n");
}
