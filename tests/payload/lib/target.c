// SPDX-License-Identifier: Apache-2.0
#include "target.h"

#define QUEUE_SIZE 8
#define ENTROPY    16

struct blk target_blk;
struct vsock target_vsock;
struct net target_net;
struct balloon target_balloon;
static struct vdev rng;
static struct vq rng_q;

/* What requests read into. */
static uint8_t *sector, *entropy;

static bool find_blk(void)
{
	sector = alloc(SECTOR, 16);
	return blk_find(&target_blk, 0);
}

static bool start_blk(uint64_t features)
{
	return blk_start(&target_blk, features, QUEUE_SIZE);
}

static bool works_blk(void)
{
	memset(sector, 0, SECTOR);
	return blk_request(&target_blk, VIRTIO_BLK_T_IN, 0, sector, SECTOR) == VIRTIO_BLK_S_OK &&
	       blk_is_pattern(sector, 0, SECTOR);
}

static bool find_rng(void)
{
	entropy = alloc(ENTROPY, 16);
	return vdev_find(&rng, VIRTIO_ID_RNG, 0);
}

static bool start_rng(uint64_t features)
{
	if (!vdev_begin(&rng, features) || !vq_init(&rng_q, &rng, 0, QUEUE_SIZE))
		return false;
	vdev_go(&rng);
	return true;
}

static bool works_rng(void)
{
	vq_post(&rng_q, entropy, ENTROPY, VRING_DESC_F_WRITE);
	return vq_wait(&rng_q, 1) && vq_take(&rng_q).len == ENTROPY;
}

static bool find_vsock(void)
{
	return vsock_find(&target_vsock);
}

static bool start_vsock(uint64_t features)
{
	if (!vsock_start(&target_vsock, features))
		return false;
	for (uint16_t i = 0; i < VSOCK_SIZE; i++)
		vsock_give(&target_vsock, i);
	return true;
}

/* Data for a connection that there never was is answered by a refusal. */
static bool works_vsock(void)
{
	return vsock_send(&target_vsock, VIRTIO_VSOCK_OP_RW, 77, 0) &&
	       vsock_expect(&target_vsock, VIRTIO_VSOCK_OP_RST, 77);
}

static bool find_net(void)
{
	return net_find(&target_net);
}

/* Only what every port can do is asked for. */
static bool start_net(uint64_t features)
{
	return net_start(&target_net, features | FEATURE(VIRTIO_NET_F_MRG_RXBUF), 1);
}

static bool works_net(void)
{
	return net_echo(&target_net, 0, 100);
}

static bool find_balloon(void)
{
	return balloon_find(&target_balloon);
}

static bool start_balloon(uint64_t features)
{
	return balloon_start(&target_balloon, features | FEATURE(VIRTIO_BALLOON_F_REPORTING));
}

/* A page that is reported is zeroes. */
static bool works_balloon(void)
{
	static uint8_t page[4096] __attribute__((aligned(4096)));

	page[77] = 0x77;
	return balloon_report(&target_balloon, page, sizeof(page)) &&
	       !*(volatile uint8_t *)&page[77];
}

struct target targets[TARGETS] = {
	[TARGET_BLK] = { "blk", &target_blk.dev, &target_blk.q, 2, find_blk, start_blk, works_blk },
	[TARGET_RNG] = { "rng", &rng, &rng_q, 1, find_rng, start_rng, works_rng },
	[TARGET_VSOCK] = { "vsock", &target_vsock.dev, &target_vsock.q[VSOCK_TX], VSOCK_QUEUES,
			   find_vsock, start_vsock, works_vsock },
	[TARGET_NET] = { "net", &target_net.dev, &target_net.tx[0], 3, find_net, start_net,
			 works_net },
	[TARGET_BALLOON] = { "balloon", &target_balloon.dev, &target_balloon.q[BALLOON_REPORTING],
			     BALLOON_QUEUES, find_balloon, start_balloon, works_balloon },
};

bool targets_init(void)
{
	for (int i = 0; i < TARGETS; i++) {
		if (!targets[i].find()) {
			fail("targets", "not all devices are there");
			return false;
		}
		if (!targets[i].start(0) || !targets[i].works()) {
			fail("targets", "%s does not work to begin with", targets[i].name);
			return false;
		}
	}
	return true;
}

static void verdict(const struct target *t, const char *name, const char *what)
{
	if (what)
		print("FAIL %s.%s %s\n", t->name, name, what);
	else
		print("ok %s.%s\n", t->name, name);
}

bool attack_begin(struct target *t, const char *name, uint64_t features)
{
	if (t->start(features))
		return true;
	verdict(t, name, "the device cannot be started for it");
	return false;
}

static const char *judge(struct target *t, enum outcome outcome)
{
	if (outcome == BREAKS && !vdev_needs_reset(t->dev))
		return "the device does not ask for a reset";
	if (outcome == HARMLESS && !t->works())
		return "the device does not work any more";
	if (outcome == HARMLESS && vdev_status(t->dev) & VIRTIO_CONFIG_S_NEEDS_RESET)
		return "the device asks for a reset";
	for (int i = 0; i < TARGETS; i++)
		if (&targets[i] != t && !targets[i].works())
			return "another device does not work any more";
	if (!t->start(0))
		return "the device cannot be started again";
	if (vdev_status(t->dev) & VIRTIO_CONFIG_S_NEEDS_RESET)
		return "the device asks for a reset after one";
	return t->works() ? NULL : "the device does not work after a reset";
}

void attack_end(struct target *t, const char *name, enum outcome outcome)
{
	verdict(t, name, judge(t, outcome));
}

void attack_all(struct target *t, const struct attack *attacks, unsigned int n, uint64_t features)
{
	for (unsigned int i = 0; i < n; i++) {
		if (!attack_begin(t, attacks[i].name, features))
			continue;
		attacks[i].run();
		attack_end(t, attacks[i].name, attacks[i].outcome);
	}
}
