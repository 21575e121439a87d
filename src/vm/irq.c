// SPDX-License-Identifier: Apache-2.0
#include "vm/irq.h"

#include <errno.h>
#include <linux/kvm.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int close_with_errno(int fd)
{
	int ret = -errno;

	close(fd);
	return ret;
}

int irq_fd_new(int vm_fd, uint32_t gsi)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0)
		return -errno;
	struct kvm_irqfd irqfd = { .fd = (uint32_t)fd, .gsi = gsi };
	if (ioctl(vm_fd, KVM_IRQFD, &irqfd))
		return close_with_errno(fd);
	return fd;
}

int kick_fd_new(int vm_fd, uint64_t addr, uint32_t match)
{
	/* Blocking: io_uring then waits for a signal instead of failing at once. */
	int fd = eventfd(0, EFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	struct kvm_ioeventfd kick = {
		.datamatch = match,
		.addr = addr,
		.len = 4,
		.fd = fd,
		.flags = KVM_IOEVENTFD_FLAG_DATAMATCH,
	};
	if (ioctl(vm_fd, KVM_IOEVENTFD, &kick))
		return close_with_errno(fd);
	return fd;
}

int write_ignore(int vm_fd, uint64_t addr, uint32_t match)
{
	int fd = kick_fd_new(vm_fd, addr, match);

	if (fd < 0)
		return fd;
	/* KVM keeps what is behind the descriptor, and goes on signalling to nobody. */
	close(fd);
	return 0;
}
