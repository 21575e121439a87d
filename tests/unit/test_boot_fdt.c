// SPDX-License-Identifier: Apache-2.0
#include "test_boot.h"

#include <errno.h>
#include <libfdt.h>

#include "kvmbox/agent.h"

static const char *const argv_sh[] = { "/bin/sh", "-c", "echo \"a b\"", "", NULL };
static const char *const env_two[] = { "A=1", "B=two words", NULL };

static struct machine machine(void)
{
	return (struct machine){
		.cpus = 3,
		.ndevices = 2,
		.devices = { { "virtio,mmio", 0xd0000000, 0x1000, 5, 0 },
			     { "qemu,pvpanic-mmio", 0xd0001000, 0x1000, -1, 0 } },
		.workload = {
			.argv = (char *const *)argv_sh,
			.env = (char *const *)env_two,
			.cwd = "/srv",
			.hostname = "box",
			.init = true,
			.terminal = true,
			.rows = 25,
			.cols = 80,
			.root_device = "/dev/vda",
			.root_fstype = "erofs",
			.root_read_only = true,
			.root_overlay = true,
		},
	};
}

static uint8_t tree[BOOT_FDT_MAX] __attribute__((aligned(8)));

static void build(const struct machine *m)
{
	struct error err = { "" };
	size_t len = 0;

	cr_assert_eq(boot_build_fdt(m, tree, sizeof(tree), &len, &err), 0, "%s", err.text);
	cr_assert_eq(fdt_check_full(tree, len), 0);
	cr_assert_eq(fdt_totalsize(tree), len);
}

static int node_at(const char *path)
{
	int node = fdt_path_offset(tree, path);

	cr_assert_geq(node, 0, "no node %s", path);
	return node;
}

static void expect_bytes(const char *path, const char *prop, const void *want, int want_len)
{
	int len = -1;
	const void *p = fdt_getprop(tree, node_at(path), prop, &len);

	cr_assert_not_null(p, "%s has no %s", path, prop);
	cr_expect_eq(len, want_len, "%s/%s", path, prop);
	cr_expect_eq(memcmp(p, want, (size_t)want_len), 0, "%s/%s", path, prop);
}

static void expect_string(const char *path, const char *prop, const char *want)
{
	expect_bytes(path, prop, want, (int)strlen(want) + 1);
}

static void expect_cells(const char *path, const char *prop, int n, const uint32_t *want)
{
	fdt32_t be[8];

	for (int i = 0; i < n; i++)
		be[i] = cpu_to_fdt32(want[i]);
	expect_bytes(path, prop, be, n * 4);
}

#define EXPECT_CELLS(path, prop, ...)                                                    \
	expect_cells(path, prop, sizeof((uint32_t[]){ __VA_ARGS__ }) / sizeof(uint32_t), \
		     (uint32_t[]){ __VA_ARGS__ })

static void expect_no_prop(const char *path, const char *prop)
{
	cr_expect_null(fdt_getprop(tree, node_at(path), prop, NULL), "%s has %s", path, prop);
}

Test(boot_fdt, root_has_a_compatible)
{
	struct machine m = machine();

	build(&m);
	expect_string("/", "compatible", "kvmbox");
	EXPECT_CELLS("/", "#address-cells", 2);
	EXPECT_CELLS("/", "#size-cells", 1);
}

Test(boot_fdt, every_cpu_is_there)
{
	struct machine m = machine();
	int node, n = 0;

	m.cpus = 32;
	build(&m);
	EXPECT_CELLS("/cpus", "#address-cells", 1);
	EXPECT_CELLS("/cpus", "#size-cells", 0);
	expect_string("/cpus/cpu@0", "device_type", "cpu");
	EXPECT_CELLS("/cpus/cpu@0", "reg", 0);
	EXPECT_CELLS("/cpus/cpu@1f", "reg", 31);
	fdt_for_each_subnode(node, tree, node_at("/cpus")) n++;
	cr_expect_eq(n, 32);
}

Test(boot_fdt, ioapic_as_linux_knows_it)
{
	struct machine m = machine();
	const char *ioapic = "/interrupt-controller@fec00000";

	build(&m);
	expect_string(ioapic, "compatible", "intel,ce4100-ioapic");
	EXPECT_CELLS(ioapic, "reg", 0, 0xfec00000, 0x1000);
	EXPECT_CELLS(ioapic, "#interrupt-cells", 2);
	expect_bytes(ioapic, "interrupt-controller", "", 0);
}

Test(boot_fdt, devices_are_on_a_simple_bus)
{
	struct machine m = machine();
	const char *virtio = "/bus/mmio@d0000000";
	const char *panic = "/bus/pvpanic-mmio@d0001000";
	int len;

	build(&m);
	expect_string("/bus", "compatible", "simple-bus");
	expect_bytes("/bus", "ranges", "", 0);
	expect_string(virtio, "compatible", "virtio,mmio");
	EXPECT_CELLS(virtio, "reg", 0, 0xd0000000, 0x1000);
	EXPECT_CELLS(virtio, "interrupts", 5, 3);

	const fdt32_t *parent = fdt_getprop(tree, node_at("/bus"), "interrupt-parent", &len);

	cr_assert_not_null(parent);
	cr_expect_eq(fdt_node_offset_by_phandle(tree, fdt32_to_cpu(*parent)),
		     node_at("/interrupt-controller@fec00000"));
	expect_string(panic, "compatible", "qemu,pvpanic-mmio");
	expect_no_prop(panic, "interrupts");
}

Test(boot_fdt, power_off_is_a_register)
{
	struct machine m = machine();
	int len;

	m.poweroff = 0xd0002000;
	build(&m);
	expect_string("/syscon@d0002000", "compatible", "syscon");
	EXPECT_CELLS("/syscon@d0002000", "reg", 0, 0xd0002000, 4);
	expect_string("/bus/poweroff", "compatible", "syscon-poweroff");
	EXPECT_CELLS("/bus/poweroff", "offset", 0);
	EXPECT_CELLS("/bus/poweroff", "value", 1);

	const fdt32_t *map = fdt_getprop(tree, node_at("/bus/poweroff"), "regmap", &len);

	cr_assert_not_null(map);
	cr_expect_eq(fdt_node_offset_by_phandle(tree, fdt32_to_cpu(*map)),
		     node_at("/syscon@d0002000"));
}

Test(boot_fdt, workload_as_the_agent_reads_it)
{
	struct machine m = machine();

	build(&m);
	expect_bytes(KVMBOX_DESCRIPTION_FDT_NODE, "argv", "/bin/sh\0-c\0echo \"a b\"\0\0", 23);
	expect_bytes("/kvmbox", "env", "A=1\0B=two words\0", 16);
	expect_string("/kvmbox", "cwd", "/srv");
	expect_string("/kvmbox", "hostname", "box");
	expect_bytes("/kvmbox", "init", "", 0);
	expect_bytes("/kvmbox", "terminal", "", 0);
	EXPECT_CELLS("/kvmbox", "winsize", 25, 80);
	expect_string("/kvmbox/root", "device", "/dev/vda");
	expect_string("/kvmbox/root", "fstype", "erofs");
	expect_bytes("/kvmbox/root", "read-only", "", 0);
	expect_bytes("/kvmbox/root", "overlay", "", 0);
}

Test(boot_fdt, network_cards_as_the_agent_reads_them)
{
	struct machine m = machine();
	struct machine_net *net = m.workload.nets;

	m.workload.nnets = 2;
	net[0] = (struct machine_net){ .mac = { 2, 0, 0, 0, 0, 1 }, .mtu = 9000 };
	net[0].addresses.n = 2;
	net[0].gateways.n = 1;
	cr_assert_eq(ip_parse_prefix("10.0.0.2/24", &net[0].addresses.ips[0]), 0);
	cr_assert_eq(ip_parse_prefix("fd00::2/64", &net[0].addresses.ips[1]), 0);
	cr_assert_eq(ip_parse("10.0.0.1", &net[0].gateways.ips[0]), 0);
	net[1] = (struct machine_net){ .mac = { 2, 0, 0, 0, 0, 2 } };
	m.workload.dns.n = 1;
	cr_assert_eq(ip_parse("10.0.0.53", &m.workload.dns.ips[0]), 0);
	build(&m);
	expect_bytes("/kvmbox/net0", "mac", "\2\0\0\0\0\1", 6);
	EXPECT_CELLS("/kvmbox/net0", "mtu", 9000);
	expect_bytes("/kvmbox/net0", "addresses", "10.0.0.2/24\0fd00::2/64", 23);
	expect_string("/kvmbox/net0", "gateways", "10.0.0.1");
	expect_string("/kvmbox", "dns", "10.0.0.53");
	expect_bytes("/kvmbox/net1", "mac", "\2\0\0\0\0\2", 6);
	expect_no_prop("/kvmbox/net1", "mtu");
	expect_no_prop("/kvmbox/net1", "addresses");
	expect_no_prop("/kvmbox/net1", "gateways");
	cr_expect_lt(fdt_path_offset(tree, "/kvmbox/net2"), 0);
}

Test(boot_fdt, what_is_not_given_is_not_there)
{
	struct machine m = machine();

	m.workload = (struct machine_workload){ .argv = (char *const *)argv_sh };
	build(&m);
	expect_no_prop("/kvmbox", "env");
	expect_no_prop("/kvmbox", "cwd");
	expect_no_prop("/kvmbox", "hostname");
	expect_no_prop("/kvmbox", "init");
	expect_no_prop("/kvmbox", "terminal");
	expect_no_prop("/kvmbox", "winsize");
	expect_no_prop("/kvmbox", "dns");
	cr_expect_lt(fdt_path_offset(tree, "/kvmbox/root"), 0);
}

Test(boot_fdt, serial_port_with_its_clock)
{
	struct machine m = machine();
	const char *serial = "/bus/ns16550a@d0019000";

	m.devices[m.ndevices++] = (struct machine_device){ "ns16550a", 0xd0019000, 8, 4, 1843200 };
	build(&m);
	EXPECT_CELLS(serial, "reg", 0, 0xd0019000, 8);
	EXPECT_CELLS(serial, "interrupts", 4, 3);
	EXPECT_CELLS(serial, "clock-frequency", 1843200);
	expect_no_prop("/bus/mmio@d0000000", "clock-frequency");
}

Test(boot_fdt, no_arguments_no_workload)
{
	struct machine m = machine();

	m.workload.argv = NULL;
	build(&m);
	cr_expect_lt(fdt_path_offset(tree, "/kvmbox"), 0);
}

Test(boot_fdt, the_largest_machine_fits)
{
	struct machine m = machine();

	m.cpus = BOOT_CPUS_MAX;
	m.ndevices = MACHINE_DEVICES_MAX;
	for (unsigned int i = 0; i < m.ndevices; i++)
		m.devices[i] = (struct machine_device){ "virtio,mmio", 0xd0000000 + i * 0x1000ull,
							0x1000, 5, 0 };
	build(&m);
	EXPECT_CELLS("/bus/mmio@d0017000", "reg", 0, 0xd0017000, 0x1000);
}

Test(boot_fdt, arguments_that_do_not_fit)
{
	struct machine m = machine();
	char *big = malloc(BOOT_FDT_MAX + 1);
	const char *const argv[] = { "true", big, NULL };
	struct error err = { "" };
	size_t len = 42;

	memset(big, 'x', BOOT_FDT_MAX);
	big[BOOT_FDT_MAX] = '\0';
	m.workload.argv = (char *const *)argv;
	cr_expect_eq(boot_build_fdt(&m, tree, sizeof(tree), &len, &err), -E2BIG);
	cr_expect(strstr(err.text, "arguments and environment are too long"), "%s", err.text);
	cr_expect_eq(len, 42);

	/* A little less fits, with the machine's description beside it. */
	big[BOOT_FDT_MAX - 4096] = '\0';
	build(&m);
	free(big);
}

Test(boot_fdt, every_room_that_is_too_small)
{
	struct machine m = machine();
	struct error err;
	size_t need, len;

	cr_assert_eq(boot_build_fdt(&m, tree, sizeof(tree), &need, &err), 0);
	for (size_t room = 0; room < need; room++) {
		memset(tree + room, 0xee, 64);
		cr_assert_eq(boot_build_fdt(&m, tree, room, &len, &err), -E2BIG, "%zu bytes", room);
		for (size_t i = 0; i < 64; i++)
			cr_assert_eq(tree[room + i], 0xee, "written past %zu bytes", room);
	}
	cr_expect_eq(boot_build_fdt(&m, tree, need, &len, &err), 0);
}
