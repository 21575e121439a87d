// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bucket.h"
#include "base/error.h"
#include "base/ip.h"

#define CONFIG_CPUS_MAX     32
#define CONFIG_DISKS_MAX    12
#define CONFIG_QUEUES_MAX   16
#define CONFIG_NETS_MAX     4
#define CONFIG_PAIRS_MAX    8     /* queue pairs of a network card */
#define CONFIG_MTU_MIN      1280  /* the least that IPv6 takes */
#define CONFIG_MTU_MAX      65521 /* the most that a tap takes */
#define CONFIG_IPS_MAX      8     /* addresses of a network card */
#define CONFIG_DNS_MAX      3     /* what a resolver looks at */
#define CONFIG_PUBLISH_MAX  64
#define CONFIG_ALLOWS_MAX   16
#define CONFIG_FORWARDS_MAX 8
#define CONFIG_FORWARD_MAX  512 /* bytes of an address in the guest, with the NUL */
#define CONFIG_ID_MAX       64  /* characters, as Firecracker's ids have */
#define CONFIG_SERIAL_MAX   20  /* bytes of a virtio-blk serial number (virtio 1.3, 5.2.6.1) */
#define CONFIG_NAME_MAX     63  /* it becomes the guest's host name */
#define CONFIG_WEIGHT_MAX   10000
#define CONFIG_FILE_MAX     (256 * 1024) /* bytes of a config file */

enum disk_direct {
	DISK_DIRECT_AUTO, /* O_DIRECT where the file allows */
	DISK_DIRECT_ON,
	DISK_DIRECT_OFF,
};

struct disk_config {
	char *path;
	char id[CONFIG_ID_MAX + 1]; /* what others call it at the control socket; "": not given */
	bool read_only;
	bool root;                          /* becomes the first disk, /dev/vda */
	char serial[CONFIG_SERIAL_MAX + 1]; /* "": a default is made */
	enum disk_direct direct;
	unsigned int queues; /* 0: as many as vCPUs, at most 4 */
	bool fixed_buffers;  /* pin the guest's memory, and spare that for each request */
	bool sqpoll;         /* a kernel thread polls for requests */
	struct limits limits;
};

enum net_mode {
	NET_TAP,  /* a tap interface that exists */
	NET_NAT,  /* a tap of our own, behind NAT */
	NET_USER, /* passt */
};

struct net_config {
	enum net_mode mode;
	char id[CONFIG_ID_MAX + 1]; /* as a disk's */
	char tap[16];               /* IFNAMSIZ; NET_TAP only */
	bool has_mac;
	uint8_t mac[6];
	unsigned int mtu;                   /* 0: what the tap has */
	unsigned int queues;                /* pairs; 0: 1 */
	bool unfiltered;                    /* NET_TAP only: no rules are put around it */
	struct limits rx_limits, tx_limits; /* as the guest sees it */
	/* What guest/init sets up. NET_TAP only: the other two know it themselves. */
	struct ip_addr ips[CONFIG_IPS_MAX];
	size_t nips;
	struct ip_addr gateways[2]; /* one of each family at most */
	size_t ngateways;
	struct ip_addr dns[CONFIG_DNS_MAX];
	size_t ndns;
};

/* The balloon that every machine has, unless a disk's fixed buffers pin its memory. */
struct balloon_config {
	uint32_t amount_mib; /* that the guest is to give up */
	bool keep_on_oom;    /* it may not take that back when it is short of memory */
	bool no_reporting;   /* it does not give back what happens to be free */
};

/* A port of the host that leads to one of the guest's, on its first NET_NAT or NET_USER. */
struct publish_config {
	bool udp;
	struct ip_addr address; /* of the host; family 0: all it has */
	uint16_t host_port;
	uint16_t guest_port;
};

/* A unix socket of the host that leads to a socket of the guest's. */
struct forward_config {
	char *path;  /* absolute, or a name in the VM's state directory */
	char *guest; /* "unix:PATH" or "tcp:ADDRESS:PORT" */
};

/*
 * One micro-VM as the user asked for it: the command line laid over a config file, checked, and not
 * changed any more after that, but for limits (config_patch_drive()). Strings are owned; NULL or 0
 * means "not given" where a default needs knowledge that this module does not have.
 */
struct boot_config {
	char *name;         /* never NULL after config_finish() */
	unsigned int cpus;  /* 1 .. CONFIG_CPUS_MAX, default 1 */
	uint64_t mem_bytes; /* multiple of 4 KiB, >= 32 MiB, default 256 MiB */
	char *kernel;       /* NULL: kvmbox's own */
	char *initrd;       /* NULL: kvmbox's own, with guest/init */
	char *append;       /* added to the kernel's command line, or NULL */
	char *boot_args; /* replaces kvmbox's own command line (Firecracker's boot_args), or NULL */
	char *rootfs;    /* directory or image; NULL: the built-in root */
	struct disk_config disks[CONFIG_DISKS_MAX];
	size_t ndisks;
	struct net_config nets[CONFIG_NETS_MAX];
	size_t nnets;
	struct balloon_config balloon;
	struct publish_config publish[CONFIG_PUBLISH_MAX];
	size_t npublish;
	char allow[CONFIG_ALLOWS_MAX][CONFIG_NAME_MAX + 1]; /* VMs it may talk to; "*": all */
	size_t nallow;
	struct forward_config forwards[CONFIG_FORWARDS_MAX];
	size_t nforwards;
	char **argv; /* NULL-terminated; NULL: a shell */
	bool init;   /* argv is a system's init, /sbin/init if it is not given */
	char **env;  /* NULL-terminated NAME=VALUE; never NULL after config_finish() */
	char *workdir;
	uint64_t timeout_ms; /* 0: none */
	bool json;
	unsigned int cpu_weight; /* of its cgroup, 1 .. CONFIG_WEIGHT_MAX; 0: as any */
	unsigned int io_weight;  /* likewise */
	/* How it runs, which no config file says. */
	bool detach;      /* in the background */
	bool interactive; /* with a standard input there */
	bool terminal;    /* and a terminal */
	bool remove;      /* nothing of it is kept when it has ended */
	bool unsafe_no_jail;
	/*
	 * The kernel boots its root's own init and the serial port is the terminal, as Firecracker
	 * does it: with --initrd, or a config file with a root drive and no workload.
	 */
	bool full_system;
};

void config_init(struct boot_config *cfg);
void config_deinit(struct boot_config *cfg);

/*
 * Parse the arguments of "kvmbox boot" (@argv[0] is "boot"), the --config file first wherever it
 * stands, then check the whole. Returns 0; 1 when --help was asked for; or negative errno with a
 * sentence that names the option, key or value and says what would be right.
 */
int config_parse_boot(struct boot_config *cfg, int argc, char **argv, struct error *err);

/*
 * Lay a JSON config file of @len bytes over *@cfg (Firecracker's keys, and ours beside them).
 * @path is only for words. Returns 0 or negative errno with a sentence.
 */
int config_parse_json(struct boot_config *cfg, const char *text, size_t len, const char *path,
		      struct error *err);

struct json_object;

/*
 * What may change of a disk, or a network card, while the VM runs: its limits, by the JSON of a
 * request for the one with that @id. What @body does not name stays as it is. Returns 0 or negative
 * errno with a sentence, and nothing is changed then.
 */
int config_patch_drive(struct disk_config *disk, const char *id, struct json_object *body,
		       struct error *err);
int config_patch_net(struct net_config *net, const char *id, struct json_object *body,
		     struct error *err);

/* Fill in defaults and check what belongs together. Returns 0 or negative errno with a sentence. */
int config_finish(struct boot_config *cfg, struct error *err);

/*
 * Check that the paths of @cfg are there, of the right kind and accessible, so that the sentence
 * comes before anything is started. Returns 0 or negative errno with a sentence.
 */
int config_check_paths(const struct boot_config *cfg, struct error *err);

/*
 * "512", "64K", "256M", "1.5G", "2GiB", "1T" as bytes, in powers of 1024.
 * Returns 0, -EINVAL or -ERANGE.
 */
int parse_size(const char *s, uint64_t *bytes);

/*
 * "5" and "1.5s" (seconds), "200ms", "2m", "1h" as milliseconds, at least 1 unless it is 0.
 * Returns 0, -EINVAL or -ERANGE.
 */
int parse_duration(const char *s, uint64_t *ms);

/*
 * PATH[,ro][,serial=S][,direct=on|off|auto][,queues=N][,fixed-buffers=on|off][,sqpoll=on|off]
 * [,iops=N[,iops-burst=N]][,bw=SIZE[,bw-burst=SIZE]], a comma within PATH being written twice.
 * Returns 0, and @disk->path is the caller's to free; or negative errno with a sentence.
 */
int parse_disk(const char *s, struct disk_config *disk, struct error *err);

/*
 * tap=NAME[,mac=M][,mtu=N][,queues=N][,ip=ADDR/PREFIX]...[,gw=ADDR]...[,dns=ADDR]...
 * [,filter=on|off], or nat[,mac=M][,mtu=N][,queues=N], or user[,mac=M][,mtu=N]; each with
 * [,bw=SIZE[,bw-burst=SIZE]][,pps=N[,pps-burst=N]].
 * Returns 0; or negative errno with a sentence, and *@net is as it was.
 */
int parse_net(const char *s, struct net_config *net, struct error *err);

/*
 * [ADDR:]HOST:GUEST[/tcp|/udp], an IPv6 address in brackets. @where opens the sentence.
 * Returns 0; or negative errno with a sentence, and *@publish is as it was.
 */
int parse_publish(const char *where, const char *s, struct publish_config *publish,
		  struct error *err);

/* @publish as the user would write it. */
struct publish_text {
	char text[IP_TEXT_MAX + 24];
};
struct publish_text publish_show(const struct publish_config *publish);
