// SPDX-License-Identifier: Apache-2.0
/* 64 KiB out of the serial port to a slow reader, and in and out again: none is lost. */
#include <stdio.h>
#include <string.h>

#include "harness.h"

static uint8_t stream[PATTERN_STREAM_BYTES];

static bool run(const char *path, const char *what, bool input, bool lazy)
{
	static const char end[] = "ok flood\ndone\n";
	struct payload p;
	size_t i = 0;

	payload_init(&p, path);
	p.cmdline = what;
	p.lazy_console = lazy;
	p.partial = true;
	if (input) {
		p.input = stream;
		p.input_len = sizeof(stream);
	}
	payload_run(&p);
	payload_expect_end(&p, VM_END_RESET);
	while (i < p.console_len && i < sizeof(stream) && (uint8_t)p.console[i] == stream[i])
		i++;
	payload_expect(&p, i == sizeof(stream), "byte %zu of %zu is not what it should be", i,
		       p.console_len);
	payload_expect(&p, i != sizeof(stream) || !strcmp(p.console + i, end),
		       "something else is behind the stream");
	payload_expect(&p, p.log_len == 0, "the log is not empty");
	bool good = payload_verdict(&p);

	printf("%s %s%s\n", good ? "ok" : "FAIL", what, lazy ? " to a slow reader" : "");
	fflush(stdout);
	return good;
}

int main(int argc, char **argv)
{
	(void)argc;
	for (uint32_t i = 0; i < sizeof(stream); i++)
		stream[i] = pattern_stream(i);
	bool good = run(argv[1], "out", false, true);

	good &= run(argv[1], "echo", true, false);
	return !good;
}
