// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "supervisor/netstate.h"

static struct netstate a, b;

static void allow(struct netstate *s, const char *name)
{
	strcpy(s->allow[s->nallow++], name);
}

Test(netstate, text_comes_back)
{
	strcpy(a.vm, "web.1");
	a.nat = true;
	a.netns = 4026531840;
	a.pid = 4194304;
	memcpy(a.mac, "\x02\0\0\0\xab\xff", 6);
	cr_assert_eq(ip_parse("10.213.0.2", &a.ip4), 0);
	cr_assert_eq(ip_parse("fd00::2", &a.ip6), 0);
	memset(a.vm, 'n', CONFIG_NAME_MAX);
	for (int i = 0; i < CONFIG_ALLOWS_MAX; i++)
		memset(a.allow[a.nallow++], 'a' + i, CONFIG_NAME_MAX);
	char *text = netstate_text(&a);
	cr_assert_not_null(text);
	cr_assert_eq(netstate_parse(&b, text), 0, "%s", text);
	cr_expect_eq(memcmp(&a, &b, sizeof(a)), 0, "%s", text);
	free(text);
}

Test(netstate, refused)
{
	static const char *const texts[] = {
		"",
		"vm\n",
		"vm \n",
		"kind nat\nnetns 1\n",
		"vm web\nmac 02:00\n",
		"vm web\nip 10.0.0\n",
		"vm web\ncolour red\n",
		"vm 0123456789012345678901234567890123456789012345678901234567890123\n",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		memset(&a, 0, sizeof(a));
		cr_expect_eq(netstate_parse(&a, texts[i]), -EINVAL, "%s", texts[i]);
	}
}

/* Two VMs may have one name, in two state directories. */
Test(netstate, same_vm)
{
	strcpy(a.vm, "web");
	strcpy(b.vm, "web");
	a.pid = b.pid = 1000;
	cr_expect(netstate_same_vm(&a, &b));
	b.pid = 1001;
	cr_expect_not(netstate_same_vm(&a, &b));
	/* A process id comes again. */
	strcpy(b.vm, "db");
	b.pid = a.pid;
	cr_expect_not(netstate_same_vm(&a, &b));
}

/* One that allows the other is enough. */
Test(netstate, allowed)
{
	strcpy(a.vm, "web");
	strcpy(b.vm, "db");
	cr_expect_not(netstate_allowed(&a, &b));
	allow(&a, "db2");
	allow(&b, "we");
	cr_expect_not(netstate_allowed(&a, &b));
	allow(&b, "web");
	cr_expect(netstate_allowed(&a, &b));
	cr_expect(netstate_allowed(&b, &a));
	strcpy(b.vm, "other");
	b.nallow = 0;
	cr_expect_not(netstate_allowed(&a, &b));
	allow(&a, "*");
	cr_expect(netstate_allowed(&a, &b));
}
