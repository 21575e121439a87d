// SPDX-License-Identifier: Apache-2.0
#include "supervisor/net.h"

#include <errno.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/passt.h"
#include "backend/tap.h"
#include "base/cleanup.h"
#include "supervisor/passt.h"

#define MTU_DEFAULT 1500u /* what the guest's kernel takes unless told */

_Static_assert(MACHINE_NETS_MAX >= CONFIG_NETS_MAX, "each card is described");
_Static_assert(MACHINE_IPS_MAX >= CONFIG_IPS_MAX, "with all its addresses");

/* One card under construction. */
struct card {
	const struct boot_config *vm;
	const struct net_config *cfg;
	const struct publish_config *publish; /* for this card */
	size_t npublish;
	struct netport *port;
	const char *interface; /* of the host that it is attached to; NULL: none */
	const char *table;     /* of the rules around it; NULL: none */
	struct machine_net guest;
	struct ip_list dns;
};

static void copy_ips(struct ip_list *list, const struct ip_addr *ips, size_t n)
{
	list->n = 0;
	while (list->n < n) {
		list->ips[list->n] = ips[list->n];
		list->n++;
	}
}

/* ---- tap ---- */

/* Sets *@mtu to that of the interface @name. */
static int interface_mtu(const char *name, unsigned int *mtu)
{
	AUTO_CLOSE int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = { 0 };

	memcpy(ifr.ifr_name, name, strlen(name) + 1);
	if (fd < 0 || ioctl(fd, SIOCGIFMTU, &ifr))
		return -errno;
	*mtu = (unsigned int)ifr.ifr_mtu;
	return 0;
}

static int open_tap(struct nets *nets, struct card *card, struct error *err)
{
	const struct net_config *cfg = card->cfg;
	unsigned int mtu = 0;
	int ret = tap_open(cfg->tap, cfg->queues ? cfg->queues : 1, &card->port, err);

	if (ret)
		return ret;
	card->interface = cfg->tap;
	ret = interface_mtu(cfg->tap, &mtu);
	if (ret)
		return error_set(err, -ret, "cannot read the MTU of the tap %s: %s", cfg->tap,
				 strerror(-ret));
	if (cfg->mtu > mtu)
		return error_set(err, EINVAL,
				 "--net tap=%s: the tap's own MTU is %u; raise that (ip link set "
				 "%s mtu %u), or give the guest less than mtu=%u",
				 cfg->tap, mtu, cfg->tap, cfg->mtu, cfg->mtu);
	if (cfg->mtu)
		mtu = cfg->mtu;
	card->guest.mtu = mtu > CONFIG_MTU_MAX ? CONFIG_MTU_MAX : (uint16_t)mtu;
	copy_ips(&card->guest.addresses, cfg->ips, cfg->nips);
	copy_ips(&card->guest.gateways, cfg->gateways, cfg->ngateways);
	copy_ips(&card->dns, cfg->dns, cfg->ndns);
	/* Other users than root use a tap as it is: they may make no rules. */
	if (cfg->unfiltered || geteuid() != 0)
		return 0;
	ret = edge_open(&nets->edges[nets->nedges], card->vm, cfg, card->guest.mac, err);
	if (ret)
		return ret;
	card->table = nets->edges[nets->nedges++].table;
	return 0;
}

/* ---- nat ---- */

static void add_ip(struct ip_list *list, const struct ip_addr *ip)
{
	if (ip->family)
		list->ips[list->n++] = *ip;
}

static int open_nat(struct nets *nets, struct card *card, struct error *err)
{
	struct nat *nat = &nets->nats[nets->nnats];
	unsigned int mtu = card->cfg->mtu ? card->cfg->mtu : MTU_DEFAULT;
	unsigned int queues = card->cfg->queues ? card->cfg->queues : 1;
	int ret = nat_open(nat, card->vm, card->guest.mac, mtu, queues, card->publish,
			   card->npublish, err);

	if (ret)
		return ret;
	nets->nnats++;
	card->guest.mtu = (uint16_t)mtu;
	add_ip(&card->guest.addresses, &nat->link.guest4);
	add_ip(&card->guest.addresses, &nat->link.guest6);
	add_ip(&card->guest.gateways, &nat->link.host4);
	add_ip(&card->guest.gateways, &nat->link.host6);
	card->dns = nat->dns;
	card->interface = card->table = nat->link.name;
	card->port = steal_ptr(nat->port);
	return 0;
}

/* ---- user ---- */

static int open_user(struct nets *nets, struct card *card, struct error *err)
{
	struct passt_guest guest;
	AUTO_CLOSE int fd = -1;
	int ret = passt_start(card->publish, card->npublish, &fd, &guest, err);

	if (ret)
		return ret;
	nets->passt = true;
	ret = passt_port_new(fd, &card->port);
	if (ret)
		return error_set(err, -ret, "cannot use passt's socket: %s", strerror(-ret));
	steal_fd(&fd);
	card->guest.mtu = (uint16_t)(card->cfg->mtu ? card->cfg->mtu : PASST_MTU);
	card->guest.addresses = guest.addresses;
	card->guest.gateways = guest.gateways;
	card->dns = guest.dns;
	return 0;
}

/* ---- all ---- */

static int choose_mac(struct card *card, struct error *err)
{
	uint8_t *mac = card->guest.mac;

	memcpy(mac, card->cfg->mac, sizeof(card->cfg->mac));
	if (card->cfg->has_mac)
		return 0;
	if (getrandom(mac, sizeof(card->guest.mac), 0) != sizeof(card->guest.mac))
		return error_set(err, EIO, "the host gives no random numbers for a MAC address");
	mac[0] = 0x02; /* locally administered, of one card */
	return 0;
}

/* Enter the card, finished or not, where it will be freed. */
static void enter_card(struct vm_spec *spec, const struct card *card)
{
	struct machine_workload *w = &spec->workload;
	unsigned int i = spec->nnets++;

	spec->nets[i].port = card->port;
	spec->nets[i].mtu = card->guest.mtu;
	spec->nets[i].rx_limits = card->cfg->rx_limits;
	spec->nets[i].tx_limits = card->cfg->tx_limits;
	memcpy(spec->nets[i].mac, card->guest.mac, sizeof(spec->nets[i].mac));
	w->nets[i] = card->guest;
	if (card->guest.mtu == MTU_DEFAULT)
		w->nets[i].mtu = 0;
	w->nnets = spec->nnets;
	for (unsigned int d = 0; d < card->dns.n && w->dns.n < CONFIG_DNS_MAX; d++)
		w->dns.ips[w->dns.n++] = card->dns.ips[d];
}

static int open_card(struct nets *nets, struct card *card, struct error *err)
{
	int ret = choose_mac(card, err);

	if (ret)
		return ret;
	switch (card->cfg->mode) {
	case NET_TAP:
		return open_tap(nets, card, err);
	case NET_NAT:
		return open_nat(nets, card, err);
	default:
		return open_user(nets, card, err);
	}
}

void nets_init(struct nets *nets)
{
	*nets = (struct nets){ .nnats = 0 };
	link_watch_init(&nets->links);
}

static int watch_link(struct nets *nets, unsigned int card, const char *interface,
		      struct error *err)
{
	int ret = link_watch_add(&nets->links, card, interface);

	return ret ? error_set(err, -ret, "cannot watch the interface %s: %s", interface,
			       strerror(-ret))
		   : 0;
}

int nets_open(struct nets *nets, const struct boot_config *cfg, struct vm_spec *spec,
	      struct error *err)
{
	bool published = false;

	for (size_t i = 0; i < cfg->nnets; i++) {
		struct card card = { .vm = cfg, .cfg = &cfg->nets[i] };

		/* Published ports lead to the first card that has any. */
		if (card.cfg->mode != NET_TAP && !published) {
			card.publish = cfg->publish;
			card.npublish = cfg->npublish;
			published = true;
		}
		int ret = open_card(nets, &card, err);

		if (card.port)
			enter_card(spec, &card);
		nets->cards[nets->ncards].interface = card.interface;
		nets->cards[nets->ncards++].table = card.table;
		if (!ret && card.interface)
			ret = watch_link(nets, (unsigned int)i, card.interface, err);
		if (ret)
			return ret;
	}
	return 0;
}

void nets_close(struct nets *nets, struct vm_spec *spec)
{
	for (unsigned int i = 0; i < spec->nnets; i++)
		spec->nets[i].port->ops->free(spec->nets[i].port);
	spec->nnets = 0;
	for (size_t i = 0; i < nets->nnats; i++)
		nat_close(&nets->nats[i]);
	nets->nnats = 0;
	for (size_t i = 0; i < nets->nedges; i++)
		edge_close(&nets->edges[i]);
	nets->nedges = 0;
	nets->ncards = 0;
	if (nets->passt)
		passt_reap();
	nets->passt = false;
	link_watch_deinit(&nets->links);
}
