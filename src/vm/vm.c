// SPDX-License-Identifier: Apache-2.0
/*
 * The monitor: composes memory, vCPUs, interrupts, buses and devices into one machine and runs it.
 *
 * Guest physical memory: RAM from 0, the hole from 3 GiB with the devices' registers at
 * DEVICE_BASE, the APICs and KVM's own pages near its end, and more RAM from 4 GiB.
 */
#include "vm/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <linux/kvm.h>
#include <linux/virtio_mmio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/trim.h"
#include "device/balloon.h"
#include "device/blk.h"
#include "device/cmos.h"
#include "device/i8042.h"
#include "device/net.h"
#include "device/rng.h"
#include "device/serial.h"
#include "device/vsock.h"
#include "virtio/mmio.h"
#include "vm/channel.h"
#include "vm/irq.h"
#include "vm/line.h"
#include "vm/stats.h"
#include "vm/vcpu.h"
#include "vm/worker.h"

#define DEVICE_BASE   0xd0000000ull
#define DEVICE_STRIDE 0x1000ull
/* Past the pages that are read as memory: reading a UART has effects. */
#define SERIAL_GPA       (DEVICE_BASE + DEVICE_PAGES * DEVICE_STRIDE)
#define KVM_TSS_GPA      0xfffbd000u   /* three pages that KVM needs on Intel CPUs without */
#define KVM_IDENTITY_GPA 0xfffbc000ull /* unrestricted guest mode, and one for its page table */
#define DEVICE_PAGES     (MACHINE_DEVICES_MAX + 1) /* and the power-off register */
#define GUEST_CID        3
#define RING_ENTRIES     256
#define CPUID_ENTRIES    256
#define RUSAGE_BLOCK     512u

#define PVPANIC_PANICKED    0x01u /* the pvpanic device's event bits (QEMU docs/specs/pvpanic) */
#define PVPANIC_CRASHLOADED 0x02u

/*
 * The IOAPIC pins that nobody on a PC's ISA bus has claimed. Ours go first to those above 15.
 */
static const uint8_t free_pins[] = { 16, 17, 18, 19, 20, 21, 22, 23, 5, 9, 10, 11, 6, 7, 15, 14 };

struct slot {
	struct virtio_mmio *mmio;
	int irq_fd;
	int kick_fds[VIRTIO_QUEUES_MAX];
	unsigned int nkicks;
};

struct vm {
	const struct vm_spec *spec;
	struct error err;
	int fd;
	struct guest_mem mem;
	struct loop *loop;
	struct bus pio, mmio;
	uint8_t *device_pages; /* what the guest reads at DEVICE_BASE, a page a device */
	struct machine machine;
	struct kernel_image kernel;
	struct vcpu_owner owner;
	struct coalesced coalesced;
	struct vcpu_gate gate;
	struct start_line line;
	bool paused;
	struct vcpu vcpus[CONFIG_CPUS_MAX];
	unsigned int nvcpus;
	struct slot slots[MACHINE_DEVICES_MAX];
	unsigned int nslots;
	struct virtio_device *nets[CONFIG_NETS_MAX];
	/* the devices' own */
	struct limiter *disk_limiters[VM_DISKS_MAX];
	struct limiter *rx_limiters[CONFIG_NETS_MAX], *tx_limiters[CONFIG_NETS_MAX];
	struct virtio_device *vsock;   /* NULL: none */
	struct virtio_device *balloon; /* NULL: none */
	struct worker *workers;        /* NULL: none */
	unsigned int nworkers;
	struct worker *poller; /* the one whose kernel thread polls for all that want it */
	uint64_t setup_cpu_ns;

	struct serial serial;
	int serial_irq_fd;
	int serial_room_fd;
	bool have_serial;
	int console_source;
	int console_room_file;
	uint8_t console_buf[SERIAL_FIFO];
	struct i8042 i8042;
	uint8_t cmos_index;

	int channel_source;

	pthread_mutex_t lock; /* what follows */
	bool panicked;        /* the guest's kernel said so */
	bool ended;
	enum vm_end why;
	char text[sizeof(((struct message *)0)->text)];
};

static void vm_end(void *ctx, enum vm_end why, const char *text)
{
	struct vm *vm = ctx;

	pthread_mutex_lock(&vm->lock);
	if (!vm->ended) {
		vm->ended = true;
		vm->why = why == VM_END_RESET && vm->panicked ? VM_END_PANIC : why;
		snprintf(vm->text, sizeof(vm->text), "%s", text ? text : "");
	}
	pthread_mutex_unlock(&vm->lock);
	loop_stop(vm->loop);
}

/* ---- ports and registers that are not virtio ---- */

static void serial_bus_read(void *ctx, uint64_t off, void *data, uint32_t len)
{
	memset(data, 0xff, len);
	*(uint8_t *)data = serial_read(ctx, (uint32_t)off);
}

static void serial_bus_write(void *ctx, uint64_t off, const void *data, uint32_t len)
{
	(void)len;
	serial_write(ctx, (uint32_t)off, *(const uint8_t *)data);
}

static const struct bus_ops serial_bus_ops = { serial_bus_read, serial_bus_write };

/* The controller's two ports have others between them, which nobody answers at. */
static bool is_i8042_port(uint64_t off)
{
	return off == 0 || off == I8042_STATUS_PORT - I8042_DATA_PORT;
}

/* The keyboard controller's and the clock's few bytes of state are the guest's own to race for. */
static void i8042_bus_read(void *ctx, uint64_t off, void *data, uint32_t len)
{
	struct vm *vm = ctx;

	memset(data, 0xff, len);
	if (is_i8042_port(off))
		*(uint8_t *)data = i8042_read(&vm->i8042, (uint16_t)(I8042_DATA_PORT + off));
}

static void i8042_bus_write(void *ctx, uint64_t off, const void *data, uint32_t len)
{
	struct vm *vm = ctx;

	(void)len;
	if (is_i8042_port(off) &&
	    i8042_write(&vm->i8042, (uint16_t)(I8042_DATA_PORT + off), *(const uint8_t *)data))
		vm_end(vm, VM_END_RESET, NULL);
}

static const struct bus_ops i8042_bus_ops = { i8042_bus_read, i8042_bus_write };

static void cmos_bus_read(void *ctx, uint64_t off, void *data, uint32_t len)
{
	struct vm *vm = ctx;

	memset(data, 0xff, len);
	if (off == CMOS_DATA_PORT - CMOS_INDEX_PORT)
		*(uint8_t *)data = cmos_register(vm->cmos_index, time(NULL));
}

static void cmos_bus_write(void *ctx, uint64_t off, const void *data, uint32_t len)
{
	struct vm *vm = ctx;

	(void)len;
	if (off == 0)
		vm->cmos_index = *(const uint8_t *)data;
}

static const struct bus_ops cmos_bus_ops = { cmos_bus_read, cmos_bus_write };

/* The machine goes on: the kernel has yet to print why, and then resets, which is when it ends. */
static void pvpanic_write(void *ctx, uint64_t off, const void *data, uint32_t len)
{
	struct vm *vm = ctx;

	(void)off;
	(void)len;
	if (!(*(const uint8_t *)data & (PVPANIC_PANICKED | PVPANIC_CRASHLOADED)))
		return;
	pthread_mutex_lock(&vm->lock);
	vm->panicked = true;
	pthread_mutex_unlock(&vm->lock);
}

static const struct bus_ops pvpanic_ops = { .write = pvpanic_write };

static void poweroff_write(void *ctx, uint64_t off, const void *data, uint32_t len)
{
	(void)off;
	(void)data;
	(void)len;
	vm_end(ctx, VM_END_RESET, NULL);
}

static const struct bus_ops poweroff_ops = { .write = poweroff_write };

static void mmio_bus_write(void *ctx, uint64_t off, const void *data, uint32_t len)
{
	virtio_mmio_write(ctx, off, data, len);
}

static const struct bus_ops mmio_bus_ops = { .write = mmio_bus_write };

/* ---- the serial console's other end ---- */

enum { OP_CONSOLE_INPUT, OP_CONSOLE_ROOM };

/* Take as much input as the guest's FIFO holds; with none, wait until the guest has emptied it. */
static void console_listen(struct vm *vm)
{
	size_t room = serial_room(&vm->serial);

	if (!room) {
		loop_wait_event(vm->loop, vm->console_room_file, vm->console_source,
				OP_CONSOLE_ROOM, 0, 0);
		return;
	}
	struct io_uring_sqe *sqe = loop_sqe(vm->loop);
	io_uring_prep_recv(sqe, vm->spec->console, vm->console_buf, room, 0);
	loop_tag(sqe, vm->console_source, OP_CONSOLE_INPUT, 0, 0);
}

static void handle_console(void *ctx, const struct loop_event *ev)
{
	struct vm *vm = ctx;

	switch (ev->op) {
	case OP_CONSOLE_INPUT:
		if (ev->res <= 0)
			return; /* no more input will come */
		serial_receive(&vm->serial, vm->console_buf, (size_t)ev->res);
		break;
	case OP_CONSOLE_ROOM:
		break;
	}
	console_listen(vm);
}

/* ---- the supervisor's messages ---- */

static void channel_listen(struct vm *vm)
{
	struct io_uring_sqe *sqe = loop_sqe(vm->loop);

	io_uring_prep_poll_add(sqe, vm->spec->channel, POLLIN);
	loop_tag(sqe, vm->channel_source, 0, 0, 0);
}

static void read_stats(struct vm *vm, struct vm_stats *stats)
{
	struct rusage usage;

	*stats = (struct vm_stats){ .setup_cpu_ns = vm->setup_cpu_ns };
	if (!getrusage(RUSAGE_SELF, &usage)) {
		stats->disk_read = (uint64_t)usage.ru_inblock * RUSAGE_BLOCK;
		stats->disk_written = (uint64_t)usage.ru_oublock * RUSAGE_BLOCK;
	}
	for (unsigned int i = 0; i < vm->nvcpus; i++) {
		const struct vcpu *v = &vm->vcpus[i];

		stats->exits += kvm_stat_read(v->stats_fd, "exits");
		stats->halts += kvm_stat_read(v->stats_fd, "halt_exits");
		stats->irqs += kvm_stat_read(v->stats_fd, "irq_injections");
		stats->user_exits += atomic_load(&v->user_exits);
		stats->pio_exits += atomic_load(&v->pio_exits);
		stats->mmio_exits += atomic_load(&v->mmio_exits);
	}
	if (!vm->balloon)
		return;

	struct balloon_stats balloon;

	balloon_read_stats(vm->balloon, &balloon);
	stats->have_balloon = true;
	stats->balloon_target = balloon.target_bytes;
	stats->balloon_actual = balloon.actual_bytes;
	stats->balloon_reported = balloon.reported_bytes;
}

static void send_stats(struct vm *vm, uint64_t id)
{
	struct message msg = { .type = MESSAGE_STATS, .id = id };

	read_stats(vm, &msg.stats);
	channel_send(vm->spec->channel, &msg, -1);
}

static void vm_paused(void *ctx)
{
	const struct vm *vm = ctx;
	struct message msg = { .type = MESSAGE_PAUSED };

	channel_send(vm->spec->channel, &msg, -1);
}

/* What the supervisor asks for; *@fd came with it, and is -1 afterwards if it was taken. */
static void handle_message(struct vm *vm, const struct message *msg, int *fd)
{
	switch (msg->type) {
	case MESSAGE_STOP:
		vm_end(vm, VM_END_STOPPED, NULL);
		break;
	case MESSAGE_LINK:
		if (msg->value / 2 < vm->spec->nnets)
			net_set_link(vm->nets[msg->value / 2], msg->value % 2);
		break;
	case MESSAGE_ANSWER:
		if (vm->vsock)
			vsock_answer(vm->vsock, msg->id, steal_fd(fd));
		break;
	case MESSAGE_DIAL:
		if (vm->vsock && *fd >= 0 && msg->len <= VSOCK_PREAMBLE_MAX)
			vsock_dial(vm->vsock, (uint32_t)msg->value, steal_fd(fd), msg->text,
				   msg->len, msg->id == 1);
		break;
	case MESSAGE_PAUSE:
		if (!vm->paused)
			vcpus_pause(vm->vcpus, vm->nvcpus);
		vm->paused = true;
		break;
	case MESSAGE_RESUME:
		if (vm->paused)
			vcpus_resume(vm->vcpus, vm->nvcpus);
		vm->paused = false;
		break;
	case MESSAGE_BALLOON:
		if (vm->balloon && msg->value <= UINT32_MAX)
			balloon_set_target(vm->balloon, (uint32_t)msg->value);
		break;
	case MESSAGE_DISK_LIMITS:
		if (msg->value < vm->spec->ndisks && channel_limits_ok(msg))
			limiter_set(vm->disk_limiters[msg->value], &msg->limits[0]);
		break;
	case MESSAGE_NET_LIMITS:
		if (msg->value < vm->spec->nnets && channel_limits_ok(msg)) {
			limiter_set(vm->rx_limiters[msg->value], &msg->limits[0]);
			limiter_set(vm->tx_limiters[msg->value], &msg->limits[1]);
		}
		break;
	case MESSAGE_GET_STATS:
		send_stats(vm, msg->id);
		break;
	}
}

static void handle_channel(void *ctx, const struct loop_event *ev)
{
	struct vm *vm = ctx;
	struct message msg;
	AUTO_CLOSE int fd = -1;

	(void)ev;
	if (channel_receive(vm->spec->channel, &msg, &fd) <= 0) {
		vm_end(vm, VM_END_STOPPED, NULL);
		return;
	}
	handle_message(vm, &msg, &fd);
	channel_listen(vm);
}

/* The guest connects to a port of the host: the supervisor knows what that leads to. */
static int handle_connect(void *ctx, uint64_t id, uint32_t port)
{
	struct vm *vm = ctx;
	struct message msg = { .type = MESSAGE_CONNECT, .value = port, .id = id };

	return channel_send(vm->spec->channel, &msg, -1);
}

static const struct vsock_host_ops vsock_host = { .connect = handle_connect };

/* ---- composition ---- */

static int host_error(struct vm *vm, int ret, const char *what)
{
	return error_set(&vm->err, -ret, "%s: %s", what, strerror(-ret));
}

/*
 * As firmware leaves them: no line is open. Our own kernel never looks at the PICs, and the first
 * edge on one of their lines would reach it as vector 0 to 15, an exception's.
 */
static int mask_pics(const struct vm *vm)
{
	static const uint32_t pics[] = { KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE };

	for (size_t i = 0; i < sizeof(pics) / sizeof(pics[0]); i++) {
		struct kvm_irqchip chip = { .chip_id = pics[i] };

		if (ioctl(vm->fd, KVM_GET_IRQCHIP, &chip))
			return -errno;
		chip.chip.pic.imr = 0xff;
		if (ioctl(vm->fd, KVM_SET_IRQCHIP, &chip))
			return -errno;
	}
	return 0;
}

static int create_vm(struct vm *vm)
{
	uint64_t identity = KVM_IDENTITY_GPA;
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };

	vm->fd = ioctl(vm->spec->kvm_fd, KVM_CREATE_VM, 0);
	if (vm->fd < 0)
		return host_error(vm, -errno, "KVM cannot create a virtual machine");
	coalesced_init(&vm->coalesced, vm->fd);
	if (ioctl(vm->fd, KVM_SET_TSS_ADDR, KVM_TSS_GPA) ||
	    ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) ||
	    ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0) || ioctl(vm->fd, KVM_CREATE_PIT2, &pit) ||
	    mask_pics(vm))
		return host_error(vm, -errno, "KVM cannot create the interrupt controllers");
	return 0;
}

static int create_memory(struct vm *vm)
{
	int ret = guest_mem_init(&vm->mem, vm->spec->mem_bytes);

	if (ret)
		return host_error(vm, ret, "no address space for the guest's memory");
	for (unsigned int i = 0; i < vm->mem.nregions; i++) {
		const struct guest_region *r = &vm->mem.regions[i];
		struct kvm_userspace_memory_region region = {
			.slot = i,
			.guest_phys_addr = r->gpa,
			.memory_size = r->size,
			.userspace_addr = (uintptr_t)r->host,
		};

		if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region))
			return host_error(vm, -errno, "KVM does not take the guest's memory");
	}
	return 0;
}

/*
 * What guests read of the devices on the memory bus is plain memory to them; only writes exit
 * (KVM_MEM_READONLY).
 */
static int create_device_pages(struct vm *vm)
{
	size_t size = DEVICE_PAGES * DEVICE_STRIDE;
	void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (pages == MAP_FAILED)
		return host_error(vm, -errno, "no memory for the devices' registers");
	vm->device_pages = pages;
	struct kvm_userspace_memory_region region = {
		.slot = GUEST_RAM_SLOTS,
		.flags = KVM_MEM_READONLY,
		.guest_phys_addr = DEVICE_BASE,
		.memory_size = size,
		.userspace_addr = (uintptr_t)pages,
	};
	if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region))
		return host_error(vm, -errno, "KVM does not take read-only memory");
	return 0;
}

static uint8_t *next_device_page(const struct vm *vm)
{
	return vm->device_pages + DEVICE_STRIDE * vm->machine.ndevices;
}

static int add_legacy_devices(struct vm *vm)
{
	vm->serial_irq_fd = irq_fd_new(vm->fd, SERIAL_GSI);
	vm->serial_room_fd = eventfd(0, EFD_CLOEXEC);
	if (vm->serial_irq_fd < 0 || vm->serial_room_fd < 0)
		return host_error(vm, -errno, "no interrupt line for the serial port");
	serial_init(&vm->serial, vm->serial_irq_fd, vm->spec->console, vm->serial_room_fd);
	vm->have_serial = true;
	vm->console_source = loop_add_source(vm->loop, handle_console, vm);
	vm->console_room_file = loop_add_file(vm->loop, vm->serial_room_fd);
	console_listen(vm);

	/* One port at two addresses: where PCs have it, and for device trees, which know no ports.
	 */
	bus_add(&vm->pio, SERIAL_PORT, SERIAL_PORTS, &serial_bus_ops, &vm->serial);
	bus_add(&vm->mmio, SERIAL_GPA, SERIAL_PORTS, &serial_bus_ops, &vm->serial);
	bus_add(&vm->pio, I8042_DATA_PORT, I8042_STATUS_PORT - I8042_DATA_PORT + 1, &i8042_bus_ops,
		vm);
	bus_add(&vm->pio, CMOS_INDEX_PORT, 2, &cmos_bus_ops, vm);

	uint64_t base = DEVICE_BASE + DEVICE_STRIDE * vm->machine.ndevices;
	*next_device_page(vm) = PVPANIC_PANICKED | PVPANIC_CRASHLOADED;
	bus_add(&vm->mmio, base, DEVICE_STRIDE, &pvpanic_ops, vm);
	vm->machine.devices[vm->machine.ndevices++] = (struct machine_device){
		.compatible = "qemu,pvpanic-mmio",
		.base = base,
		.size = 2,
		.irq = -1,
	};

	base += DEVICE_STRIDE;
	bus_add(&vm->mmio, base, DEVICE_STRIDE, &poweroff_ops, vm);
	vm->machine.poweroff = base;
	/* Its registers are not among the pages: to read one of them is an exit. */
	vm->machine.devices[vm->machine.ndevices++] = (struct machine_device){
		.compatible = "ns16550a",
		.base = SERIAL_GPA,
		.size = SERIAL_PORTS,
		.irq = SERIAL_GSI,
		.clock_hz = SERIAL_CLOCK_HZ,
	};
	return 0;
}

/* Give @dev registers, an interrupt and a doorbell for each queue. Takes @dev. */
static int add_virtio(struct vm *vm, struct virtio_device *dev)
{
	struct slot *s = &vm->slots[vm->nslots];
	uint64_t base = DEVICE_BASE + DEVICE_STRIDE * vm->machine.ndevices;
	int ret;

	if (vm->nslots == sizeof(free_pins)) {
		dev->ops->free(dev);
		return error_set(&vm->err, ENOSPC,
				 "more than %zu devices: the machine has no more "
				 "interrupt lines",
				 sizeof(free_pins));
	}
	uint32_t pin = free_pins[vm->nslots];

	s->nkicks = 0;
	s->irq_fd = irq_fd_new(vm->fd, pin);
	ret = s->irq_fd < 0 ? s->irq_fd : 0;
	while (!ret && s->nkicks < dev->nqueues) {
		int fd = kick_fd_new(vm->fd, base + VIRTIO_MMIO_QUEUE_NOTIFY, s->nkicks);

		if (fd < 0)
			ret = fd;
		else
			s->kick_fds[s->nkicks++] = fd;
	}
	/* An exit to us for every interrupt, only to take back a bit that no driver looks at. */
	if (!ret)
		ret = write_ignore(vm->fd, base + VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
	if (!ret)
		ret = coalesced_add(&vm->coalesced, vm->fd, base + VIRTIO_MMIO_LATCHES,
				    VIRTIO_MMIO_LATCHES_BYTES);
	if (!ret)
		ret = virtio_mmio_new(dev, s->kick_fds, s->irq_fd, next_device_page(vm), &s->mmio);
	vm->nslots++;
	if (ret) {
		dev->ops->free(dev);
		return host_error(vm, ret, "a device cannot be wired up");
	}
	bus_add(&vm->mmio, base, VIRTIO_MMIO_BYTES, &mmio_bus_ops, s->mmio);
	vm->machine.devices[vm->machine.ndevices++] = (struct machine_device){
		.compatible = "virtio,mmio",
		.base = base,
		.size = VIRTIO_MMIO_BYTES,
		.irq = (int)pin,
	};
	return 0;
}

static bool worker_begins(void *ctx, struct loop *loop)
{
	struct vm *vm = ctx;

	return start_line_reach(&vm->line, jail_close(vm->spec->jail, JAIL_WORKER, loop));
}

static void worker_broken(void *ctx, int error)
{
	char text[128];

	snprintf(text, sizeof(text), "io_uring failed in a disk's thread: %s", strerror(-error));
	vm_end(ctx, VM_END_ERROR, text);
}

/*
 * Queues that want a thread of their own get it: without polling all but the first, which stays on
 * the device's loop, so that one queue takes no thread. With it all of them, since polling is not
 * for whatever else is on that loop.
 */
static int add_workers(struct vm *vm, unsigned int disk, const char *name, struct loop **loops)
{
	bool polled = vm->spec->disks[disk].sqpoll;

	if (!polled && !vm->spec->disks[disk].own_loops)
		return 0;
	for (unsigned int i = !polled; i < vm->spec->disks[disk].queues; i++) {
		struct worker *w = &vm->workers[vm->nworkers];
		char thread[24];

		snprintf(thread, sizeof(thread), "%.8s-q%u", name, i);
		int ret = worker_init(w, thread, polled, polled ? vm->poller : NULL);
		if (ret)
			return host_error(vm, ret, "a disk's queue cannot have a thread");
		vm->nworkers++;
		w->begin = worker_begins;
		w->broken = worker_broken;
		w->ctx = vm;
		if (polled && !vm->poller)
			vm->poller = w;
		loops[i] = w->loop;
	}
	return 0;
}

unsigned int vm_count_workers(const struct vm_spec *spec)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < spec->ndisks; i++) {
		if (spec->disks[i].sqpoll)
			n += spec->disks[i].queues;
		else if (spec->disks[i].own_loops)
			n += spec->disks[i].queues - 1;
	}
	return n;
}

static int alloc_workers(struct vm *vm)
{
	unsigned int n = vm_count_workers(vm->spec);

	if (n)
		vm->workers = calloc(n, sizeof(vm->workers[0]));
	return n && !vm->workers ? -ENOMEM : 0;
}

/* Let the loops that serve a disk know the guest's memory. */
static int fix_buffers(struct vm *vm, struct loop *const *loops, unsigned int queues)
{
	for (unsigned int i = 0; i < queues; i++) {
		struct loop *loop = loops[i] ? loops[i] : vm->loop;
		int ret = loop_add_memory(loop, vm->mem.base, vm->mem.size);

		if (ret == -ENOMEM || ret == -EPERM)
			return error_set(
				&vm->err, -ret,
				"fixed-buffers=on cannot pin the guest's %llu MiB for each "
				"of %u queues: raise the limit on locked memory (ulimit -l), "
				"or leave it out",
				(unsigned long long)(vm->mem.size >> 20), queues);
		if (ret)
			return host_error(vm, ret,
					  "io_uring does not take the guest's memory for "
					  "fixed-buffers=on");
	}
	return 0;
}

static int add_disks(struct vm *vm)
{
	static const char *const names[VM_DISKS_MAX] = {
		"vda", "vdb", "vdc", "vdd", "vde", "vdf", "vdg",
		"vdh", "vdi", "vdj", "vdk", "vdl", "vdm",
	};

	int ret = alloc_workers(vm);

	if (ret)
		return host_error(vm, ret, "the disks' threads cannot be set up");
	for (unsigned int i = 0; i < vm->spec->ndisks; i++) {
		struct loop *loops[CONFIG_QUEUES_MAX] = { NULL };
		struct blk_spec blk = {
			.disk = vm->spec->disks[i].disk,
			.nqueues = vm->spec->disks[i].queues,
			.serial = vm->spec->disks[i].serial,
			.name = names[i],
			.queue_loops = loops,
		};
		struct virtio_device *dev;

		ret = add_workers(vm, i, names[i], loops);
		if (!ret && vm->spec->disks[i].fixed_buffers)
			ret = fix_buffers(vm, loops, blk.nqueues);
		if (ret)
			return ret;
		ret = limiter_new(&vm->spec->disks[i].limits, NULL, &blk.limiter);
		if (!ret)
			ret = blk_new(vm->loop, &vm->mem, &blk, &dev);
		if (ret) {
			limiter_free(blk.limiter);
			return host_error(vm, ret, "a disk cannot be set up");
		}
		vm->disk_limiters[i] = blk.limiter;
		ret = add_virtio(vm, dev);
		if (ret)
			return ret;
	}
	return 0;
}

static int add_nets(struct vm *vm)
{
	static const char *const names[CONFIG_NETS_MAX] = { "net0", "net1", "net2", "net3" };

	for (unsigned int i = 0; i < vm->spec->nnets; i++) {
		struct net_spec net = {
			.port = vm->spec->nets[i].port,
			.mtu = vm->spec->nets[i].mtu,
			.name = names[i],
		};

		memcpy(net.mac, vm->spec->nets[i].mac, sizeof(net.mac));
		int ret = limiter_new(&vm->spec->nets[i].rx_limits, NULL, &net.rx_limiter);
		if (!ret)
			ret = limiter_new(&vm->spec->nets[i].tx_limits, NULL, &net.tx_limiter);
		if (!ret)
			ret = net_new(vm->loop, &vm->mem, &net, &vm->nets[i]);
		if (ret) {
			limiter_free(net.rx_limiter);
			limiter_free(net.tx_limiter);
			return host_error(vm, ret, "a network card cannot be set up");
		}
		vm->rx_limiters[i] = net.rx_limiter;
		vm->tx_limiters[i] = net.tx_limiter;
		ret = add_virtio(vm, vm->nets[i]);
		if (ret)
			return ret;
	}
	return 0;
}

bool vm_has_balloon(const struct vm_spec *spec)
{
	/* Besides disks and network cards: the entropy device, and the agent's channel. */
	unsigned int others = 1 + (spec->workload.argv != NULL);

	for (unsigned int i = 0; i < spec->ndisks; i++)
		if (spec->disks[i].fixed_buffers)
			return false;
	return spec->ndisks + spec->nnets + others < sizeof(free_pins);
}

static int add_balloon(struct vm *vm)
{
	struct virtio_device *dev;
	int ret;

	if (!vm_has_balloon(vm->spec))
		return 0;
	ret = balloon_new(vm->loop, &vm->mem, &vm->spec->balloon, &dev);
	if (ret)
		return host_error(vm, ret, "the memory balloon cannot be set up");
	ret = add_virtio(vm, dev);
	if (!ret)
		vm->balloon = dev;
	return ret;
}

static int add_rng(struct vm *vm)
{
	struct virtio_device *dev;
	int ret = rng_new(vm->loop, &vm->mem, &dev);

	return ret ? host_error(vm, ret, "the entropy device cannot be set up")
		   : add_virtio(vm, dev);
}

static int add_vsock(struct vm *vm)
{
	struct virtio_device *dev;
	int ret;

	if (!vm->spec->workload.argv)
		return 0;
	ret = vsock_new(vm->loop, &vm->mem, GUEST_CID, &vsock_host, vm, &dev);
	if (ret)
		return host_error(vm, ret, "the agent's channel cannot be set up");
	ret = add_virtio(vm, dev);
	if (!ret)
		vm->vsock = dev;
	return ret;
}

/* Kernels find them in this order. */
static int add_virtio_devices(struct vm *vm)
{
	static int (*const adders[])(struct vm * vm) = {
		add_disks, add_nets, add_rng, add_vsock, add_balloon,
	};
	int ret = 0;

	for (size_t i = 0; !ret && i < sizeof(adders) / sizeof(adders[0]); i++)
		ret = adders[i](vm);
	return ret;
}

static int load_guest(struct vm *vm)
{
	const struct vm_spec *spec = vm->spec;
	struct initrd initrd = { 0 };
	AUTO_FREE void *cpio = NULL;
	size_t cpio_len = 0;
	int ret = boot_load_kernel(&vm->mem, spec->kernel_fd, spec->kernel_path, &vm->kernel,
				   &vm->err);
	if (ret)
		return ret;
	vm->machine.cpus = spec->cpus;
	vm->machine.workload = spec->workload;
	if (!vm->kernel.reads_device_tree && spec->workload.argv) {
		ret = boot_build_workload_cpio(&vm->machine, &cpio, &cpio_len);
		if (ret)
			return host_error(vm, ret, "the workload's description cannot be made");
	}
	ret = boot_load_initrd(&vm->mem, spec->initrd_fd, spec->initrd_path, vm->kernel.end, cpio,
			       cpio_len, &initrd, &vm->err);
	if (ret)
		return ret;
	return boot_write_machine(&vm->mem, &vm->machine, &vm->kernel, &initrd, spec->cmdline,
				  &vm->err);
}

static bool vcpu_begins(void *ctx)
{
	struct vm *vm = ctx;

	return start_line_reach(&vm->line, jail_close(vm->spec->jail, JAIL_VCPU, NULL));
}

static int create_vcpus(struct vm *vm)
{
	AUTO_FREE struct kvm_cpuid2 *cpuid =
		calloc(1, sizeof(*cpuid) + CPUID_ENTRIES * sizeof(struct kvm_cpuid_entry2));
	struct kvm_sregs sregs;
	struct kvm_regs regs;

	if (!cpuid)
		return host_error(vm, -ENOMEM, "the vCPUs cannot be set up");
	cpuid->nent = CPUID_ENTRIES;
	if (ioctl(vm->spec->kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid))
		return host_error(vm, -errno, "KVM does not tell which CPU it offers");
	vm->owner = (struct vcpu_owner){
		.pio = &vm->pio,
		.mmio = &vm->mmio,
		.coalesced = &vm->coalesced,
		.end = vm_end,
		.begin = vcpu_begins,
		.paused = vm_paused,
		.ctx = vm,
	};
	vm->gate = (struct vcpu_gate)VCPU_GATE_INIT;
	for (; vm->nvcpus < vm->spec->cpus; vm->nvcpus++) {
		int ret = vcpu_init(&vm->vcpus[vm->nvcpus], vm->spec->kvm_fd, vm->fd, vm->nvcpus,
				    vm->spec->cpus, cpuid, &vm->owner, &vm->gate);
		if (ret)
			return host_error(vm, ret, "a vCPU cannot be made");
	}
	int boot = vm->vcpus[0].fd;
	if (ioctl(boot, KVM_GET_SREGS, &sregs))
		return host_error(vm, -errno, "the boot vCPU cannot be read");
	boot_cpu_state(&vm->kernel, &sregs, &regs);
	if (ioctl(boot, KVM_SET_SREGS, &sregs) || ioctl(boot, KVM_SET_REGS, &regs))
		return host_error(vm, -errno, "the boot vCPU cannot be set up");
	return 0;
}

static int vm_build(struct vm *vm)
{
	int ret = loop_new(&vm->loop, RING_ENTRIES);

	if (ret == -EMFILE)
		return host_error(vm, ret,
				  "the limit on open files (ulimit -n) is too low for a machine's "
				  "ring, 1024 is enough");
	if (ret)
		return host_error(vm, ret,
				  "io_uring does not work on this host ('kvmbox check' says more)");
	vm->channel_source = loop_add_source(vm->loop, handle_channel, vm);
	channel_listen(vm);
	if ((ret = create_vm(vm)) || (ret = create_memory(vm)) || (ret = create_device_pages(vm)) ||
	    (ret = add_virtio_devices(vm)) || (ret = add_legacy_devices(vm)) ||
	    (ret = load_guest(vm)))
		return ret;
	return create_vcpus(vm);
}

/*
 * From here on the guest runs: the loop on this thread, each worker and each vCPU on its own. All
 * of them are closed in their jail before the first one goes on.
 */
static int vm_go(struct vm *vm)
{
	struct message msg = { .type = MESSAGE_RUNNING };
	int ret = 0;

	vcpu_init_signal();
	for (unsigned int i = 0; i < vm->nworkers && !ret; i++)
		ret = worker_start(&vm->workers[i]);
	if (ret)
		return host_error(vm, ret, "a disk's thread cannot be started");
	for (unsigned int i = 0; i < vm->nvcpus && !ret; i++)
		ret = vcpu_start(&vm->vcpus[i]);
	if (ret)
		return host_error(vm, ret, "a vCPU's thread cannot be started");
	memory_trim();
	vm->setup_cpu_ns = clock_cpu_ns();
	ret = start_line_wait(&vm->line, vm->nworkers + vm->nvcpus);
	if (!ret)
		ret = jail_close(vm->spec->jail, JAIL_LOOP, vm->loop);
	if (ret)
		return host_error(vm, ret, "the monitor's threads cannot be closed in their jail");
	msg.value = clock_now_ns();
	msg.id = vm->spec->jail ? vm->spec->jail->left_out : 0;
	channel_send(vm->spec->channel, &msg, -1);
	start_line_open(&vm->line);
	ret = loop_run(vm->loop);
	return ret ? host_error(vm, ret, "io_uring failed") : 0;
}

/* The loops first: a vCPU may be waiting for one. */
static void vm_stop(struct vm *vm, struct vm_stats *stats)
{
	start_line_cancel(&vm->line);
	for (unsigned int i = 0; i < vm->nworkers; i++)
		worker_stop(&vm->workers[i]);
	for (unsigned int i = 0; i < vm->nvcpus; i++)
		vcpu_stop(&vm->vcpus[i]);
	read_stats(vm, stats);
}

/*
 * The rings go first: leaving one waits for or cancels what is in flight, and only then may the
 * devices and the memory they point into go.
 */
static void vm_free(struct vm *vm)
{
	for (unsigned int i = 0; i < vm->nvcpus; i++)
		vcpu_deinit(&vm->vcpus[i]);
	loop_free(vm->loop);
	/* Last made, first freed: the first of the polled ones has the thread. */
	while (vm->nworkers)
		worker_deinit(&vm->workers[--vm->nworkers]);
	free(vm->workers);
	for (unsigned int i = 0; i < vm->nslots; i++) {
		struct slot *s = &vm->slots[i];

		virtio_mmio_free(s->mmio);
		for (unsigned int k = 0; k < s->nkicks; k++)
			close(s->kick_fds[k]);
		if (s->irq_fd >= 0)
			close(s->irq_fd);
	}
	if (vm->have_serial)
		serial_deinit(&vm->serial);
	if (vm->serial_irq_fd >= 0)
		close(vm->serial_irq_fd);
	if (vm->serial_room_fd >= 0)
		close(vm->serial_room_fd);
	if (vm->fd >= 0)
		close(vm->fd);
	guest_mem_deinit(&vm->mem);
	if (vm->device_pages)
		munmap(vm->device_pages, DEVICE_PAGES * DEVICE_STRIDE);
	start_line_deinit(&vm->line);
	pthread_mutex_destroy(&vm->lock);
	free(vm);
}

void vm_run(const struct vm_spec *spec)
{
	struct message msg = { .type = MESSAGE_ENDED };
	struct vm *vm = calloc(1, sizeof(*vm));
	int ret;

	if (!vm) {
		msg.value = VM_END_ERROR;
		snprintf(msg.text, sizeof(msg.text), "out of memory");
		channel_send(spec->channel, &msg, -1);
		return;
	}
	vm->spec = spec;
	vm->fd = vm->serial_irq_fd = vm->serial_room_fd = -1;
	pthread_mutex_init(&vm->lock, NULL);
	start_line_init(&vm->line);
	ret = vm_build(vm);
	if (!ret)
		ret = vm_go(vm);
	vm_stop(vm, &msg.stats);
	if (ret) {
		msg.value = VM_END_ERROR;
		snprintf(msg.text, sizeof(msg.text), "%s", vm->err.text);
	} else {
		msg.value = vm->why;
		snprintf(msg.text, sizeof(msg.text), "%s", vm->text);
	}
	channel_send(spec->channel, &msg, -1);
	vm_free(vm);
}
