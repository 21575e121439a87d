// SPDX-License-Identifier: Apache-2.0
#include "supervisor/usage.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "supervisor/net.h"

static FILE *open_proc(pid_t pid, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	return fopen(path, "re");
}

static void add_cpu(pid_t monitor, struct json_object *stats)
{
	unsigned long long user, system;
	char line[1024];
	FILE *f = open_proc(monitor, "stat");

	if (!f)
		return;
	/* The second field is a name, which may hold anything but ends in the last parenthesis. */
	const char *rest = fgets(line, sizeof(line), f) ? strrchr(line, ')') : NULL;

	fclose(f);
	if (rest && sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user,
			   &system) == 2)
		json_object_object_add(stats, "cpu_s",
				       json_object_new_double((double)(user + system) /
							      (double)sysconf(_SC_CLK_TCK)));
}

static void add_memory(pid_t monitor, struct json_object *stats)
{
	struct json_object *memory = json_object_object_get(stats, "memory");
	unsigned long long pages;
	FILE *f = open_proc(monitor, "statm");

	if (!f)
		return;
	if (fscanf(f, "%*u %llu", &pages) == 1)
		json_object_object_add(
			memory, "monitor_bytes",
			json_object_new_uint64(pages * (unsigned long long)sysconf(_SC_PAGESIZE)));
	fclose(f);
}

void usage_monitor(pid_t monitor, struct json_object *stats)
{
	add_cpu(monitor, stats);
	add_memory(monitor, stats);
}

static unsigned long long interface_counter(const char *interface, const char *name)
{
	unsigned long long value = 0;
	char path[96];

	snprintf(path, sizeof(path), "/sys/class/net/%s/statistics/%s", interface, name);
	FILE *f = fopen(path, "re");

	if (!f)
		return 0;
	if (fscanf(f, "%llu", &value) != 1)
		value = 0;
	fclose(f);
	return value;
}

void usage_nets(const struct nets *nets, struct json_object *stats)
{
	unsigned long long received = 0, sent = 0;
	bool any = false;

	/* What the host receives at the tap, the guest has sent. */
	for (unsigned int i = 0; i < nets->ncards; i++) {
		const char *interface = nets->cards[i].interface;

		if (!interface)
			continue;
		any = true;
		received += interface_counter(interface, "tx_bytes");
		sent += interface_counter(interface, "rx_bytes");
	}
	if (!any)
		return;

	struct json_object *net = json_object_new_object();

	json_object_object_add(net, "received_bytes", json_object_new_uint64(received));
	json_object_object_add(net, "sent_bytes", json_object_new_uint64(sent));
	json_object_object_add(stats, "net", net);
}
