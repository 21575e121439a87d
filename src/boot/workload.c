// SPDX-License-Identifier: Apache-2.0
#include "boot/workload.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"

static int put_list(workload_property_fn *fn, void *ctx, const char *name, char *const *list)
{
	size_t len = 0, pos = 0;

	for (size_t i = 0; list[i]; i++)
		len += strlen(list[i]) + 1;
	AUTO_FREE char *buf = malloc(len ? len : 1);

	if (!buf)
		return -ENOMEM;
	for (size_t i = 0; list[i]; i++) {
		size_t n = strlen(list[i]) + 1;

		memcpy(buf + pos, list[i], n);
		pos += n;
	}
	return fn(ctx, name, buf, len);
}

static int put_string(workload_property_fn *fn, void *ctx, const char *name, const char *s)
{
	return s ? fn(ctx, name, s, strlen(s) + 1) : 0;
}

static int put_flag(workload_property_fn *fn, void *ctx, const char *name, bool set)
{
	return set ? fn(ctx, name, "", 0) : 0;
}

/* The list as strings, in the text form that guest/init reads; nothing for an empty one. */
static int put_ips(workload_property_fn *fn, void *ctx, const char *name,
		   const struct ip_list *list, struct ip_text (*show)(const struct ip_addr *ip))
{
	char buf[MACHINE_IPS_MAX * IP_TEXT_MAX];
	size_t len = 0;

	for (unsigned int i = 0; i < list->n; i++) {
		struct ip_text t = show(&list->ips[i]);
		size_t n = strlen(t.text) + 1;

		memcpy(buf + len, t.text, n);
		len += n;
	}
	return len ? fn(ctx, name, buf, len) : 0;
}

int workload_properties(const struct machine_workload *w, workload_property_fn *fn, void *ctx)
{
	int ret = put_list(fn, ctx, "argv", w->argv);

	if (!ret && w->env && w->env[0])
		ret = put_list(fn, ctx, "env", w->env);
	if (!ret)
		ret = put_string(fn, ctx, "cwd", w->cwd);
	if (!ret)
		ret = put_string(fn, ctx, "hostname", w->hostname);
	if (!ret)
		ret = put_flag(fn, ctx, "init", w->init);
	if (!ret)
		ret = put_flag(fn, ctx, "terminal", w->terminal);
	if (!ret && w->rows && w->cols) {
		uint32_t size[2] = { htobe32(w->rows), htobe32(w->cols) };

		ret = fn(ctx, "winsize", size, sizeof(size));
	}
	if (!ret)
		ret = put_ips(fn, ctx, "dns", &w->dns, ip_show);
	return ret;
}

int workload_root_properties(const struct machine_workload *w, workload_property_fn *fn, void *ctx)
{
	int ret = put_string(fn, ctx, "device", w->root_device);

	if (!ret)
		ret = put_string(fn, ctx, "fstype", w->root_fstype);
	if (!ret)
		ret = put_flag(fn, ctx, "read-only", w->root_read_only);
	if (!ret)
		ret = put_flag(fn, ctx, "overlay", w->root_overlay);
	return ret;
}

int workload_net_properties(const struct machine_net *net, workload_property_fn *fn, void *ctx)
{
	int ret = fn(ctx, "mac", net->mac, sizeof(net->mac));

	if (!ret && net->mtu) {
		uint32_t mtu = htobe32(net->mtu);

		ret = fn(ctx, "mtu", &mtu, sizeof(mtu));
	}
	if (!ret)
		ret = put_ips(fn, ctx, "addresses", &net->addresses, ip_show_prefix);
	if (!ret)
		ret = put_ips(fn, ctx, "gateways", &net->gateways, ip_show);
	return ret;
}
