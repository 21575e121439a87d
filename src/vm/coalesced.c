// SPDX-License-Identifier: Apache-2.0
#include "vm/coalesced.h"

#include <errno.h>
#include <sys/ioctl.h>

#define PAGE 4096u

_Static_assert(sizeof(struct kvm_coalesced_mmio_ring) +
			       COALESCED_ENTRIES * sizeof(struct kvm_coalesced_mmio) <=
		       PAGE,
	       "the ring is a page");

void coalesced_init(struct coalesced *c, int vm_fd)
{
	int page = ioctl(vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_MMIO);

	*c = (struct coalesced){ .lock = PTHREAD_MUTEX_INITIALIZER,
				 .page = page > 0 ? (size_t)page : 0 };
}

int coalesced_add(const struct coalesced *c, int vm_fd, uint64_t gpa, uint32_t size)
{
	struct kvm_coalesced_mmio_zone zone = { .addr = gpa, .size = size };

	if (!c->page)
		return 0;
	return ioctl(vm_fd, KVM_REGISTER_COALESCED_MMIO, &zone) < 0 ? -errno : 0;
}

int coalesced_attach(struct coalesced *c, struct kvm_run *run, size_t run_size)
{
	if (!c->page)
		return 0;
	if ((c->page + 1) * PAGE > run_size)
		return -EINVAL;
	c->ring = (struct kvm_coalesced_mmio_ring *)((uint8_t *)run + c->page * PAGE);
	return 0;
}

/*
 * Whether all that was there when this began has been dispatched; not only taken, since @first is
 * moved on afterwards. @last is looked at before @first: in the other order the ring could go round
 * once in between, and look empty.
 */
static bool is_done(const struct kvm_coalesced_mmio_ring *ring)
{
	uint32_t last = __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE);

	return __atomic_load_n(&ring->first, __ATOMIC_ACQUIRE) == last;
}

void coalesced_dispatch(struct coalesced *c, const struct bus *mmio)
{
	struct kvm_coalesced_mmio_ring *ring = c->ring;

	if (!ring || is_done(ring))
		return;
	pthread_mutex_lock(&c->lock);
	/* No further than now: other vCPUs may fill it as fast as it is emptied. */
	uint32_t last = __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE);

	for (uint32_t i = ring->first; i != last;) {
		const struct kvm_coalesced_mmio *e = &ring->coalesced_mmio[i];

		bus_write(mmio, e->phys_addr, e->data, e->len);
		i = (i + 1) % COALESCED_ENTRIES;
		__atomic_store_n(&ring->first, i, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&c->lock);
}
